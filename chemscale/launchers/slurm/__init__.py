"""Points as SLURM jobs: submitting, watching, ending a sweep."""
