"""Which molecules of one set are in another one: identical, of one parent or scaffold, or nearly alike."""
