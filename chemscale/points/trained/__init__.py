"""What a trained run is used for: predictions, errors on held-out data, a model to take away."""
