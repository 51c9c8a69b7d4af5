"""One self-contained page of an evaluation: numbers, distributions and drawings of molecules."""
