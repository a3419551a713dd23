"""Who moves packets. Knows SAs and policies, never the object model."""
