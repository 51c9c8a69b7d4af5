"""How far a law can be trusted: projection, profiles, sensitivity, held-out error, likelihood."""
