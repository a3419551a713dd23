"""Events and logs on their way out."""
