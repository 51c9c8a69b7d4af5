"""Which numbers of a frame are its labels: places, names, stated units."""

from chemscale.structures.sources.labels.choosing import (
    FREE,
    PREDICTED,
    PREDICTED_BY,
    REF,
    LabelKeys,
    Labels,
    Place,
)

__all__ = ["FREE", "PREDICTED", "PREDICTED_BY", "REF", "LabelKeys", "Labels", "Place"]
