"""Faster ways of what ChemGPT's layers compute, each beside its plain reference in PyTorch.

Layers choose by device and type; the model knows nothing of it. ``use_kernels(False)``
(``trainer.kernels=false``) switches all of them off.
"""
