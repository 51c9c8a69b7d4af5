"""What a trained model says of given molecules: their likelihood, and their embedding."""
