"""The molecules that are judged, from a file or drawn from a model, and what became of each."""
