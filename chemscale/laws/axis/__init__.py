"""Laws of one axis: forms, fits, intervals, regimes."""
