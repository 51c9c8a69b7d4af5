"""Molecular dynamics with a trained potential: continued exactly, stopped in time, reported with errors."""
