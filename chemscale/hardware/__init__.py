"""Accelerators, and models of the memory and the communication of a training step."""
