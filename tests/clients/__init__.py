"""Programs of other people that talk to Culvert, unmodified. `make test-clients`; needs what they are made of."""
