"""Hashes of files that are too large to be read at every start."""
