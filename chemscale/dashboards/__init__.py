"""Live pictures of sweeps: a page of our own, and a prepared workspace of W&B. Reads records, never trains."""
