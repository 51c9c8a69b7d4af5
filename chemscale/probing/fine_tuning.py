"""All weights of a language model and a linear head trained on labels, stopped by the validation part."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.representation.states import pooled_states
from chemscale.molecules.representation.stream import in_batches
from chemscale.probing.data import LabelledMolecules, ProbeError
from chemscale.probing.measures import MEASURES, over_tasks, per_task

WARM_UP = 50
"""Steps over which the rate rises."""


@dataclass(frozen=True)
class FineTuning:
    """How a model is trained on labels.

    Args:
        epochs: at most.
        patience: epochs without a better validation after which it stops.
        rate: learning rate of AdamW.
        batch: molecules of a step.
        weight_decay: of AdamW.
        dropout: of the pooled states.

    Raises:
        ProbeError: a number that makes no sense.
    """

    epochs: int = 50
    patience: int = 8
    rate: float = 3e-4
    batch: int = 32
    weight_decay: float = 0.01
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch) < 1 or not self.rate > 0:
            raise ProbeError("epochs, patience and batch are at least 1, and the rate is above 0.")


@dataclass(frozen=True)
class FineTuned:
    """What came of it.

    Args:
        predictions: (n, T) of all molecules, in the unit of the labels or as chances of class 1; NaN for
            tasks that the training part cannot teach.
        epochs: that were trained.
        best_epoch: whose weights predicted, from 1.
    """

    predictions: np.ndarray
    epochs: int
    best_epoch: int


class _Net(torch.nn.Module):
    """A copy of the language model with a linear head on its pooled states."""

    def __init__(self, model: ChemGPT, tasks: int, generator: torch.Generator, **pooled: Any):
        super().__init__()
        self.model, self.pooled = copy.deepcopy(model), pooled
        weight = torch.randn(tasks, model.config.width, generator=generator) * 0.02
        self.weight = torch.nn.Parameter(weight.to(model.token_embedding.weight.device))
        self.bias = torch.nn.Parameter(torch.zeros(tasks, device=self.weight.device))

    def forward(self, sequences: list[np.ndarray], drop: Tensor | None = None) -> Tensor:
        states = pooled_states(self.model, sequences, **self.pooled)
        return F.linear(states if drop is None else states * drop, self.weight, self.bias)


def fine_tune(
    model: ChemGPT,
    data: LabelledMolecules,
    parts: np.ndarray,
    how: FineTuning,
    *,
    seed: int,
    pooling: str = "mean",
    layer: int = -1,
    start: Sequence[int] = (),
    tokens: int = 4096,
    tell: Callable[[int, float], None] = lambda epoch, value: None,
) -> FineTuned:
    """Train a copy of a model and a fresh head on the training part; the model given stays as it was.

    Cross entropy for classes, mean square error of standardised labels for numbers, summed over the labels
    that are there. The weights of the best epoch by the validation part predict; tasks that the training part
    cannot teach (no label, or one class) are predicted by nothing, as by linear heads.

    Args:
        model: the language model.
        data: molecules and labels.
        parts: (n,) 0 train, 1 validation, 2 test.
        how: the training.
        seed: of the head, the order and the dropout; the same seed gives the same numbers on one machine.
        pooling: mean | last | max.
        layer: whose states are pooled.
        start: ids that stand before each molecule.
        tokens: symbols at a time where nothing is trained.
        tell: called after each epoch, with its number from 1 and its validation.

    Raises:
        ProbeError: the training diverged.
    """
    generator = torch.Generator().manual_seed(seed)
    net = _Net(model, len(data.tasks), generator, pooling=pooling, layer=layer, start=start)
    device = net.weight.device
    center, scale = _standard(data, parts)
    gap = np.where(_taught(data, parts), 0.0, np.nan)
    labels = torch.tensor((data.labels - center) / scale, dtype=torch.float32)
    decayed = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=how.rate)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    best: tuple[float, int, dict[str, Tensor]] = (-np.inf, 0, {})
    epoch = 0
    for epoch in range(1, how.epochs + 1):
        for members in _batches(np.flatnonzero(parts == 0), how.batch, generator):
            keep = torch.rand(len(members), model.config.width, generator=generator) >= how.dropout
            out = net([data.ids[i] for i in members], (keep.float() / (1 - how.dropout)).to(device))
            loss = _loss(out, labels[members].to(device), data.kind)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            warm.step()
        value = _validation(_predictions(net, data, parts == 1, tokens) * scale + center + gap, data, parts)
        tell(epoch, abs(value))
        if value > best[0]:
            best = (value, epoch, {name: p.detach().clone() for name, p in net.state_dict().items()})
        elif epoch - best[1] >= how.patience:
            break
    if not best[1]:
        raise ProbeError(
            f"Fine-tuning gave no finite validation in {epoch} epochs: lower --rate, or see that the "
            "validation part has labels of every task (and both classes)."
        )
    net.load_state_dict(best[2])
    whole = _predictions(net, data, np.ones(len(data), dtype=bool), tokens) * scale + center + gap
    return FineTuned(_chances(whole, data.kind), epoch, best[1])


def _standard(data: LabelledMolecules, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) center and scale of the labels of the training part; 0 and 1 for classes."""
    tasks = len(data.tasks)
    center, scale = np.zeros(tasks), np.ones(tasks)
    if data.kind == "regression":
        for task in range(tasks):
            there = data.labels[parts == 0, task]
            there = there[~np.isnan(there)]
            if len(there):
                center[task] = there.mean()
                scale[task] = there.std() or 1.0
    return center, scale


def _taught(data: LabelledMolecules, parts: np.ndarray) -> np.ndarray:
    """(T,) whether the training part has labels of a task, of both classes where it is of classes."""
    least = 2 if data.kind == "classification" else 1
    known = [column[~np.isnan(column)] for column in data.labels[parts == 0].T]
    return np.array([len(np.unique(labels)) >= least for labels in known])


def _batches(members: np.ndarray, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    order = members[torch.randperm(len(members), generator=generator).numpy()]
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def _loss(out: Tensor, labels: Tensor, kind: str) -> Tensor:
    there = ~labels.isnan()
    if kind == "classification":
        return F.binary_cross_entropy_with_logits(out[there], labels[there])
    return F.mse_loss(out[there], labels[there])


def _predictions(net: _Net, data: LabelledMolecules, chosen: np.ndarray, tokens: int) -> np.ndarray:
    """(n, T) outputs of the chosen molecules, NaN of the others."""
    out = np.full(data.labels.shape, np.nan)
    members = np.flatnonzero(chosen)
    out[members] = in_batches(net, [data.ids[i] for i in members], tokens, lambda _: None)
    return out


def _chances(outputs: np.ndarray, kind: str) -> np.ndarray:
    if kind == "regression":
        return outputs
    return np.asarray(torch.sigmoid(torch.from_numpy(outputs)))


def _validation(outputs: np.ndarray, data: LabelledMolecules, parts: np.ndarray) -> float:
    """The measure of the validation part, larger is better; NaN where it is not defined."""
    check = parts == 1
    measure = next(iter(MEASURES[data.kind].values()))
    values = per_task(measure, data.labels[check], outputs[check], np.ones((1, int(check.sum()))))
    value = float(over_tasks(values)[0])
    return value if data.kind == "classification" else -value
