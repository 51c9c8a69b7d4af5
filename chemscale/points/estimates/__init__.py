"""How long training takes where a point is planned, and what the plan says of it."""
