"""Running a point: budgets, the life of a step, checkpoints, trackers, signals, throughput."""
