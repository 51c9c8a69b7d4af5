"""Published data sets: where they lie, how they come here whole, what is said where they are not.

A machine with a network fetches; training only reads. Nothing here imports torch, Hydra or a reader, so that
``python -m chemscale.fetch`` begins at once on a login node.
"""
