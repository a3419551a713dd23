"""The IPsec protocol: bytes in, bytes out; no socket, clock, log, thread or random source of its own."""
