"""Progress of a training run: steps, losses, rate and time left."""

from __future__ import annotations

from rich.console import Console

from chemscale.common.progress import ProgressBar


class TrainingProgress(ProgressBar):
    """Optimizer steps done, with the newest losses and the rate in the run's own unit.

    Args:
        title: the point's name.
        total: optimizer steps of the run.
        rate_unit: what the rate counts: tokens or atoms.
        silent: show nothing (ranks other than the first).
        console: where the bar is drawn; standard error if None.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        rate_unit: str = "tokens",
        silent: bool = False,
        console: Console | None = None,
    ):
        super().__init__(title, total, "steps", silent=silent, console=console)
        self.rate_unit = rate_unit
        self._training = self._validation = ""

    def reached(self, step: int, rate_per_second: float) -> None:
        """A step boundary."""
        note = f"{self._training}{self._validation}{rate_per_second:,.0f} {self.rate_unit}/s"
        self.update(step, note)

    def trained(self, loss: float) -> None:
        """The newest training loss."""
        self._training = f"loss {loss:.4f} "

    def validated(self, headline: str) -> None:
        """The newest validation loss, in words."""
        self._validation = f"validation {headline} "
