"""`racoonctl`, as ipsec-tools has it: a client of the control socket."""
