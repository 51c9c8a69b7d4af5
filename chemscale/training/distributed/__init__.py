"""Ranks, what they tell each other, and the strategies by which they share a model."""
