"""Molecules and crystals in space: sources, units, reference energies, frame store, neighbours, batches.

Imports within functions are those of RDKit, tblite and ASE's dynamics in ``starter``: only who makes starter
structures needs them, not every run that reads the file.
"""
