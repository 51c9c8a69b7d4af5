"""Live pictures of sweeps: a page of our own, and a prepared W&B workspace. Reads records, never trains."""
