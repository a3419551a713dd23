"""What is configured: immutable snapshots, transactions, the store and its history."""
