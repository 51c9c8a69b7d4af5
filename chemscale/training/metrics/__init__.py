"""What a run measures beside its loss: throughput, energy, FLOPs, precision, progress."""
