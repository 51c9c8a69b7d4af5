"""Points as processes of this machine: several ranks each, several points at once on GPUs of their own."""
