"""Two sites on one machine, in network namespaces: a user of the product who imports none of it."""
