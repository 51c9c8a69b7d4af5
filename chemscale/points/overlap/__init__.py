"""What a training set and benchmarks have in common: sets by the names people give them, and the page."""
