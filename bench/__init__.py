"""How fast packets go: end to end between two sites (`run`), and the readable gateway in memory (`twin`)."""
