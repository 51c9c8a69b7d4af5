"""Files of a corpus as memory: mapped, seen as one column over all shards, and found in by a small index."""
