"""Checkpoints of a run: writing, reading without running code, other numbers of ranks, trunks."""
