"""What batches are made of and how their frames are found on disk."""
