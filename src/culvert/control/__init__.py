"""The one live object, the door to it, and what it shows."""
