"""Which frames of one set are in another one: the same geometry, nearly the same, or the same molecule."""
