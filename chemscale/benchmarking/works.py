"""What is timed: works at fixed hyper-parameters, the same for every code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOKENS_OF_A_MOLECULE = 40
"""About: positions of our packed step over rows of a padded one (2,560 beside 64)."""
LONGEST = 64
"""Symbols of a generated sequence at most."""


@dataclass(frozen=True)
class Work:
    """One kind of work with one model.

    Args:
        name: as ``--work`` gives it.
        kind: training, generation, forces (their evaluation), or command.
        model: hyper-parameters, ``family`` among them.
        unit: what is counted a second: molecules, symbols, atoms or runs.
        size: molecules or structures of a step, about.
        default: for which devices it is timed where no ``--work`` is given.
    """

    name: str
    kind: str
    model: dict[str, Any]
    unit: str
    size: int
    default: tuple[str, ...] = ("cpu", "cuda")

    @property
    def is_language(self) -> bool:
        """Whether the model is a ChemGPT."""
        return self.model.get("family") == "chemgpt"


POTENTIALS: dict[str, dict[str, Any]] = {
    "painn": {"family": "painn", "width": 128, "layers": 3, "radial": 20},
    "schnet": {"family": "schnet", "width": 128, "layers": 6, "radial": 20},
    "nequip-l1": {"family": "nequip", "width": 32, "layers": 4, "l_max": 1, "parity": True},
    "nequip-l2": {"family": "nequip", "width": 32, "layers": 4, "l_max": 2, "parity": False},
    "allegro-l1": {
        "family": "allegro", "width": 64, "layers": 2, "tensors": 32, "l_max": 1, "parity": False,
    },
    "allegro-l2": {
        "family": "allegro", "width": 64, "layers": 2, "tensors": 32, "l_max": 2, "parity": False,
    },
    "mace": {"family": "mace", "width": 64, "layers": 2, "l_max": 2, "hidden_l_max": 1},
    "spookynet": {"family": "spookynet", "width": 64, "layers": 3},
}  # fmt: skip
"""Our configurations; what they leave out has its default, which the peers' scripts repeat.

Of both parities, those that cannot reach a scalar are left out by allegro itself: of two layers all but the
natural ones. So both codes have these alone."""
CHEMGPT = {"chemgpt-4.7m": 128, "chemgpt-19m": 256, "chemgpt-350m": 1024, "chemgpt-1.2b": 2048}
"""Widths; all have 24 layers and 16 heads."""
EVERYWHERE, ON_GPU = ("cpu", "cuda"), ("cuda",)


def _language(name: str, width: int, kind: str) -> Work:
    shape = {"family": "chemgpt", "width": width, "layers": 24, "heads": 16}
    small = width == CHEMGPT["chemgpt-4.7m"]
    if kind == "training":
        return Work(name, kind, shape, "molecules", 64, EVERYWHERE if small else ON_GPU)
    return Work(f"{name}-generation", kind, shape, "symbols", 64, EVERYWHERE if small else ())


WORKS: dict[str, Work] = {
    work.name: work
    for work in (
        *(
            _language(name, width, kind)
            for name, width in CHEMGPT.items()
            for kind in ("training", "generation")
        ),
        *(Work(name, "training", shape, "atoms", 64) for name, shape in POTENTIALS.items()),
        *(Work(f"{name}-forces", "forces", shape, "atoms", 64) for name, shape in POTENTIALS.items()),
        Work("sweep", "command", {}, "runs", 1, ()),
    )
}
"""By name. ``sweep`` is ``+sweep=chemgpt_sizes`` from start to law, minutes a turn: timed when asked for."""


def chosen_works(names: str | None, device: str) -> list[Work]:
    """The works of ``--work``.

    Args:
        names: between commas; None for those that a device is for.
        device: cpu or cuda.

    Raises:
        ValueError: a name that there is not.
    """
    if names is None:
        return [work for work in WORKS.values() if device in work.default]
    found = []
    for name in names.split(","):
        if name not in WORKS:
            raise ValueError(f"--work {name}: choose from {', '.join(WORKS)}.")
        found.append(WORKS[name])
    return found


def overrides(work: Work, settings: dict[str, Any], compiled: bool | None) -> list[str]:
    """The command line of ``chemscale.train`` that trains a work until it is stopped.

    Nothing but training happens within the turns: no validation, no checkpoint, no average of weights.

    Args:
        work: of kind training.
        settings: ``data`` (its overrides), ``threads``, ``device``, ``precision``, ``tokens``.
        compiled: trainer.compile; None where the revision does not know the key.
    """
    shape = [f"model.{key}={value}" for key, value in work.model.items() if key != "family"]
    found = [
        *(["model=chemgpt"] if work.is_language else ["task=potential", f"model={work.model['family']}"]),
        *(text.replace("True", "true").replace("False", "false") for text in shape),
        *settings["data"],
        *(
            [f"batch.tokens={settings['tokens']}"]
            if work.is_language
            else [f"batch.frames={work.size}", "ema=null", "lint=off", "data.references=minimum_norm"]
        ),
        "budget.epochs=null",
        "budget.steps=1000000",
        "logger=none",
        "strategy=single",
        "trainer.validate_every=1000000",
        "trainer.checkpoint_seconds=1000000",
        f"trainer.threads={settings['threads']}",
        f"trainer.accelerator={settings['device']}",
        f"precision={settings['precision']}",
        f"sweep_name={work.name}-{compiled}",
    ]
    return found if compiled is None else [*found, f"trainer.compile={str(compiled).lower()}"]


def described() -> list[str]:
    """A line a work: name, kind, hyper-parameters."""
    return [
        f"{work.name:24s}{work.kind:12s}"
        + " ".join(f"{key}={value}" for key, value in work.model.items() if key != "family")
        + ("" if work.default else "  (when asked for)")
        for work in WORKS.values()
    ]
