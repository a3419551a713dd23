"""Two sites on one machine, in network namespaces."""
