"""Whether a run is compiled: what ``trainer.compile`` says, and where it says ``auto`` whether it pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chemscale.common.sections import ConfigurationError
from chemscale.training.compilation.toolchain import missing_for_compiling
from chemscale.training.distributed.strategies import SHARDED_WEIGHTS

PAYS_FROM = 20_000
"""Optimizer steps from which ``auto`` compiles on a GPU.

Compiling takes a minute or two there, and saves at least some 5 ms of an eager step that is bound by its
launches (an estimate: no GPU was at hand): 20,000 steps win that back with the same again to spare.
"""


@dataclass(frozen=True)
class Compilation:
    """Whether training steps are compiled, and why.

    Args:
        on: whether they are.
        reason: of it, in words.
    """

    on: bool
    reason: str

    def describe(self) -> str:
        """A line for the plan."""
        return f"trainer.compile: {'compiled' if self.on else 'not compiled'} ({self.reason})."


def decide(
    wanted: bool | Literal["auto"],
    *,
    cuda: bool,
    here: bool,
    steps: int,
    strategy: str,
    precision: str,
    forces: bool,
    recompute: bool = False,
) -> Compilation:
    """Decide whether the steps of a run are compiled.

    A function of the configuration and the machine, never of how far a run has come: a run that is resumed
    decides as it did at its start, and goes on to the bit.

    Args:
        wanted: ``trainer.compile``.
        cuda: whether it will train on a GPU.
        here: whether on this machine, whose torch and compiler are then looked at.
        steps: optimizer steps of the whole run.
        strategy: resolved.
        precision: ``trainer.precision``.
        forces: whether the loss holds forces.
        recompute: whether activations are recomputed in the backward pass.

    Raises:
        ConfigurationError: compilation is asked for by ``true`` where it cannot be.
    """
    if wanted is False:
        return Compilation(False, "false was asked for")
    problem = refused_with(strategy, precision, recompute) or (
        missing_for_compiling(cuda=cuda, forces=forces) if here else ""
    )
    if wanted is True:
        if problem:
            raise ConfigurationError(f"trainer.compile=true: {problem} Use trainer.compile=false or auto.")
        return Compilation(True, "true was asked for")
    if problem:
        return Compilation(False, f"auto: {problem.rstrip('.')}")
    if not cuda:
        return Compilation(False, "auto: on a CPU compiling takes minutes and gains little")
    if steps < PAYS_FROM:
        return Compilation(False, f"auto: {steps:,} steps are too few to win back the minutes of compiling")
    return Compilation(True, f"auto: {steps:,} steps on a GPU")


def refused_with(strategy: str, precision: str, recompute: bool = False) -> str:
    """Why such a run does not go with compilation, as a sentence; empty where it does."""
    if strategy in SHARDED_WEIGHTS:
        return (
            f"strategy={strategy} gathers weights by hooks on the model's modules, which a compiled step "
            "does not call."
        )
    if recompute:
        return "trainer.checkpoint_activations recomputes blocks; compiled code decides itself what it keeps."
    if precision == "16-mixed":
        return "precision=16-mixed scales its loss, which was never tried with compiled steps."
    return ""
