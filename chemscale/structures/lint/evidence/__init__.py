"""What frames show when they are compared: distances, lattices, the work of forces, the stretch of bonds."""
