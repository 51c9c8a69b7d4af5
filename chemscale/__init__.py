"""chemscale: scaling laws of chemical foundation models, from molecules to a fitted law."""

__version__ = "0.1.0"
