"""Steering a language model of molecules towards a score by policy gradients."""
