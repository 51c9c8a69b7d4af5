"""Molecules from a trained language model: sampling, constraints, prompts, and the files that are written."""
