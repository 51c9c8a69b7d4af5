"""Frames of an earlier training set that are learned again, against forgetting."""
