"""Joint laws of size and data: forms, fits, bootstrap."""
