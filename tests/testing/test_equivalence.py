"""What the certificate of strategies measures, and what it keeps out of it."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from chemscale.testing.equivalence import GradientProbe


class Steep(pl.LightningModule):
    """Gradients of about 8: times 2¹⁶ they are no float16 numbers any more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, index):
        return 8 * self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(6, 4), batch_size=2)


def left_out(probe: GradientProbe) -> int:
    """Steps of three whose gradient is not finite, in float16 on this CPU."""
    trainer = pl.Trainer(
        accelerator="cpu", plugins=[MixedPrecision("16-mixed", "cpu")], callbacks=[probe], max_epochs=1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Steep())
    assert len(probe.steps) == 3
    return sum(not step.isfinite().all() for step in probe.steps)


def test_no_step_of_float16_is_left_out_for_the_scale_of_its_loss():
    assert left_out(GradientProbe()) == 0


def test_the_scale_that_pytorch_begins_with_leaves_steps_out(monkeypatch):
    monkeypatch.setattr(GradientProbe, "on_fit_start", lambda *_: None)
    assert left_out(GradientProbe()) > 0
