"""What a trained model has learned of chemistry, by predicting measured properties from its states."""
