"""How far a potential's predictions lie from labels: by group of frames, by element, frame by frame."""
