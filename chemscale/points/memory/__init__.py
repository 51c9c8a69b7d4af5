"""Memory of a rank, and how its share of a step is cut to fit: language models and potentials."""
