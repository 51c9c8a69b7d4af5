"""Running a point: budgets, the step-boundary keeper, checkpoints, trackers, signals, throughput."""
