"""Molecules made here from fragments of known drugs, so that a first run needs no download."""
