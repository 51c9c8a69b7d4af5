"""A prepared W&B workspace of a project of sweeps."""
