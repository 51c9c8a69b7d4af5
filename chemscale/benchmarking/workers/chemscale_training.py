"""Our training loop in turns: the real one, of whatever revision stands on the path, watched by a callback.

The work is a command line of ``python -m chemscale.train``. It runs in this process; Lightning's trainer
gets one more callback, which stops between two steps until the next turn. Data, loop and log are timed too.
"""

from __future__ import annotations

import functools
import runpy
import sys
from typing import Any

import pytorch_lightning as pl
import torch
from turns import Counting, Turns, arguments


class TakeTurns(pl.Callback):
    """Warm up, count one step, then take turns.

    Args:
        turns: the conversation.
        unit: of the work: molecules or atoms.
        count: whether FLOPs and bytes are counted: not of compiled code.
    """

    def __init__(self, turns: Turns, unit: str, count: bool):
        self.turns, self.unit, self.count = turns, unit, count
        self.facts: dict[str, Any] = {}
        self._counting: Counting | None = None
        self._began = 0.0
        self._done = 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if self._done == 0:
            self.facts = parameters_of(module.model)
            self.turns.memory.begin()
            self._began = self.turns.now()
        if self.count and self._done == self.turns.warmup:
            self._counting = Counting()
            self._counting.__enter__()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        amount = amount_of(batch, self.unit)
        self._done += 1
        if self._done == 1:
            self.facts["first_step_seconds"] = self.turns.now() - self._began
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self.facts |= self._counting.per_unit(amount)
            self._counting = None
        last = self.turns.warmup + self.count
        if self._done == last:
            self.turns.ready(self.facts)
        elif self._done > last:
            self.turns.stepped(amount)


def amount_of(batch: Any, unit: str) -> float:
    """Molecules or atoms of a batch.

    Args:
        batch: packed molecules, or a graph of structures.
        unit: which of them.
    """
    return float(batch.molecules if unit == "molecules" else batch.z.shape[0])


def parameters_of(model: torch.nn.Module) -> dict[str, Any]:
    """Trainable numbers of a model, embeddings left out.

    Args:
        model: whose parameters are counted.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return {
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in tables)
    }


def main() -> None:
    options = arguments(__doc__ or "")
    turns = Turns(options.device, options.warmup)
    work = options.work
    added = TakeTurns(turns, work["unit"], work["count"])
    make = pl.Trainer.__init__

    @functools.wraps(make)
    def with_turns(self: pl.Trainer, *values: Any, callbacks: Any = None, **keys: Any) -> None:
        given = callbacks if isinstance(callbacks, list) else [callbacks] if callbacks else []
        make(self, *values, callbacks=[*given, added], **keys)

    pl.Trainer.__init__ = with_turns  # type: ignore[method-assign]
    sys.argv = ["train", *work["overrides"]]
    sys.path.pop(0)  # of this folder: the training has no business here
    runpy.run_module("chemscale.train", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
