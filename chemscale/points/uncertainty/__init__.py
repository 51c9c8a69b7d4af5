"""Uncertainty of trained potentials: opened with their runs and stores, calibrated, used to select frames."""
