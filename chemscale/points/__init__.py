"""Points: what one training run is made of, for each kind of task."""
