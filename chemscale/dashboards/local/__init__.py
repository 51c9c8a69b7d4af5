"""A page of all sweeps below a folder, served on loopback or written as one file."""
