"""Molecules and crystals in space: sources, units, reference energies, frame store, neighbours, batches."""
