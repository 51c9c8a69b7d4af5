"""chemscale: scaling laws of chemical foundation models, from molecules to a fitted law.

The verbs are functions here: ``chemscale.train(…)``, ``chemscale.generate(…)``. Each is loaded when it is
first used, and ``python -m chemscale.VERB`` runs it as a command.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
"""The one place of the version: pyproject.toml reads it here; CHANGELOG.md says what a number promises."""

# PyTorch reads it once, at the first matrix product on a GPU: a plan's trial may come before any trainer.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

FUNCTIONS = {
    "fetch": "chemscale.cli.python:fetch",
    "prepare": "chemscale.cli.python:prepare",
    "train": "chemscale.cli.python:train",
    "fit": "chemscale.cli.python:fit",
    "generate": "chemscale.molecules.generation.run:generate",
    "evaluate": "chemscale.molecules.metrics.run:evaluate_molecules",
    "score": "chemscale.molecules.representation.run:score",
    "embed": "chemscale.molecules.representation.run:embed",
    "probe": "chemscale.probing.run:probe",
    "optimise": "chemscale.reinforcement.run:optimise",
    "export": "chemscale.points.trained.export:export",
    "predict": "chemscale.points.trained.prediction:predict_file",
    "select": "chemscale.points.uncertainty.selecting:select_frames",
}
"""Functions of this package: the module that holds each, and its name there."""


class _Package(ModuleType):
    """The package, whose verbs stay functions when the command of the same name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FUNCTIONS and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(f"module 'chemscale' has no attribute {name!r}")
        module, _, attribute = FUNCTIONS[name].partition(":")
        function = getattr(import_module(module), attribute)
        super().__setattr__(name, function)
        return function

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *FUNCTIONS})


sys.modules[__name__].__class__ = _Package
