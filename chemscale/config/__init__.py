"""Which keys the configuration has, and their types."""
