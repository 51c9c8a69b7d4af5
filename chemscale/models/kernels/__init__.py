"""Faster ways on CPUs of what the layers compute, each beside its plain reference in PyTorch.

Layers choose here by ``applies``; the models know nothing of it. ``use_kernels(False)``
(``trainer.kernels=false``) switches all of them off.
"""
