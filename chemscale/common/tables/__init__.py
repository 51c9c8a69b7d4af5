"""Tables that molecules and structures are both read from."""
