"""How a sweep that decides while it runs hands its points to a launcher: a few at a time, as others end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from chemscale.launchers.settings import PointJob


class Feed(Protocol):
    """Says which points begin now; a launcher asks at first and whenever a point has ended."""

    def __call__(self, busy: Mapping[str, float], free: int) -> list[PointJob]:
        """Points to be started now, most wanted first; with none of them and none busy the sweep is over.

        Args:
            busy: identities of points that wait or run, with the share of their steps that they were given.
            free: how many more may start, at least 1.
        """


def share_of(config: Mapping[str, Any]) -> float:
    """The share of its steps that a point is trained to, 1 for its end.

    Args:
        config: the resolved configuration that it is launched with.
    """
    pause = config.get("pause")
    return 1.0 if pause is None else float(pause)
