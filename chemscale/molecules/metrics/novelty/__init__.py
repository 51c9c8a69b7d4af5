"""Which molecules were trained on: an index of hashes on the disk."""
