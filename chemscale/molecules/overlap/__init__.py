"""Which molecules of one set are in another one: identical, of one parent, of one scaffold, or nearly alike."""
