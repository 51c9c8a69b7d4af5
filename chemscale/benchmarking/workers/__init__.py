"""Scripts that any interpreter runs by their path: each does one work in turns, as ``turns`` explains."""
