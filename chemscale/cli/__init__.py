"""How a person is told: command lines, one-paragraph errors, ``--version``."""
