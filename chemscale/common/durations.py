"""Seconds as people read them."""

from __future__ import annotations

import math


def format_duration(seconds: float) -> str:
    """For example 42 s, 3 min 05 s, 2 h 10 min, 3 d 4 h; ``unknown time`` where it is not finite."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"
