"""How often things happen in a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cadence:
    """How often things happen, in optimiser steps; checkpoints also by the clock, whichever comes first."""

    log_every: int = 10
    validate_every: int = 100
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None

    def pause_after(self, last_save_seconds: float) -> float:
        """Seconds until the next checkpoint by the clock: saving takes a twentieth of the time at most."""
        return max(self.checkpoint_seconds, 20 * last_save_seconds)
