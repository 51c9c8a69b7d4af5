"""Readers of single published data sets whose files have a form of their own."""
