"""Damaged files for every reader: small whole files, what is done to them, and what reading them may do."""
