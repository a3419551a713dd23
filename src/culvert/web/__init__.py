"""The web GUI: pages made on the server, in the unprivileged process, for the user who logged in."""
