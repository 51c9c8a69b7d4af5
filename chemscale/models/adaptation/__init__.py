"""Training a part of a model that is trained already: frozen groups, low-rank adapters, what it costs."""
