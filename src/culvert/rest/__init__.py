"""iControl REST: the model over HTTPS, in an unprivileged process that speaks the control socket alone."""
