"""A SLURM of several nodes on one machine, to try a sweep on."""
