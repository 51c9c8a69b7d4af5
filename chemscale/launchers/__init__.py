"""Handing points to ranks: processes of this machine, or SLURM jobs."""
