"""Trainings of ours and of public codes by their own commands: errors at every tenth of a run."""
