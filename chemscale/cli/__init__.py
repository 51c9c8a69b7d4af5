"""What a person sees first: command lines, one-paragraph errors, ``--version``."""
