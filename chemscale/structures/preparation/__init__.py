"""From a source to a frame store: reading, isolated atoms, and what goes into which part."""
