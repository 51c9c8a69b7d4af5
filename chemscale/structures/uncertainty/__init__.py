"""How far a prediction may be off: committees, the last layer of one model, calibration, selection."""
