"""Training that begins from trained weights: which, what of them is trained, with which vocabulary."""
