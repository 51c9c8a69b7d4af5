"""What to train next: optimal size and data for a compute budget, and design of runs."""
