"""The next runs from a law, and one model on paper."""
