"""The tmsh command line: a client of the control socket."""
