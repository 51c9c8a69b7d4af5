"""Molecular dynamics with a trained potential, continued exactly, stopped in time, and reported with errors."""
