"""Which numbers of a frame are its labels: places, names, stated units."""

from chemscale.structures.sources.labels.choosing import (
    CALCULATOR,
    FREE,
    INFO,
    PREDICTED,
    PREDICTED_BY,
    REF,
    LabelKeys,
    Labels,
    Place,
)
from chemscale.structures.sources.labels.stress import Stresses

__all__ = [
    "CALCULATOR",
    "FREE",
    "INFO",
    "PREDICTED",
    "PREDICTED_BY",
    "REF",
    "LabelKeys",
    "Labels",
    "Place",
    "Stresses",
]
