"""Steps whose gradients are spoilt, and what becomes of the weights."""

import pytorch_lightning as pl
import torch

from chemscale.records import RunRecord


class Poison(pl.Callback):
    """Spoils the gradient of what is trained on certain batches of the data."""

    def __init__(self, first_tokens: set, value: float = float("nan")):
        self.first_tokens, self.value, self.hit = first_tokens, value, 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.now = tuple(batch.tokens[:64].tolist()) in self.first_tokens

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if self.now:
            self.hit += 1
            next(module.parameters()).grad.fill_(self.value)


class Weights(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.seen.append(torch.cat([p.detach().flatten() for p in module.parameters()]))


def batches_of(point, steps):
    """What the batches of these steps begin with."""
    data = point.data.training_batches()
    return {tuple(data[step].tokens[:64].tolist()) for step in steps}


def losses(directory):
    record = RunRecord.load(directory)
    return {row["step"]: row for row in record.curve_rows(directory) if row["kind"] == "train"}
