"""Sweeps: the identity of a point, the ledger of what is done, and the Hydra sweeper."""
