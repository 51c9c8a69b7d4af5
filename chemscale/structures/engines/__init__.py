"""Trained potentials in other simulation programs."""
