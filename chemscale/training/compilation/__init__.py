"""Training steps through ``torch.compile``, put around a model that knows nothing of it."""
