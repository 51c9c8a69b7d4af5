"""Inside the process that has the device: a point is planned as ever, then trained on fake tensors.

It is Lightning's loop with our step boundary that runs, as in ``python -m chemscale.train``: loader,
transfer, forward, backward, clipping, optimizer, average, log and validation. Checkpoints alone are left out.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning.strategies import Strategy
from torch import nn

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points import sections
from chemscale.points.base import Point
from chemscale.points.build import read_point
from chemscale.points.run import open_record
from chemscale.testing.fake_cuda.cases import ATOMS, CASES, Case, common
from chemscale.testing.fake_cuda.counting import Operations, Phase
from chemscale.testing.fake_cuda.pretence import FakeDeviceMode, cuda_is_there
from chemscale.training.checkpointing.writer import CheckpointWriter
from chemscale.training.session import TrainingSession

COUNTED = 1
"""Number of the step that is counted, from 0: the first makes the optimizer's state, the last one logs."""


@dataclass
class Report:
    """One step of a case between two logs.

    Args:
        operations: that launch something.
        kernels: that they launch, about.
        bytes: that they move.
        flops: of products.
        gpu_seconds: of the GPU, on a roofline.
        host_seconds: of the host, to launch them.
        waits: where the host waits for the device in a step that logs nothing.
        phases: kernels by phase.
        top: operations that take most of the GPU's time: name, how many, milliseconds.
        model_flops: as the run counts them.
        tokens: of the step.
        atoms: of the step.
        seconds: that it took here.
    """

    operations: int = 0
    kernels: int = 0
    bytes: int = 0
    flops: int = 0
    gpu_seconds: float = 0.0
    host_seconds: float = 0.0
    waits: dict[str, int] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    top: list[tuple[str, int, float]] = field(default_factory=list)
    model_flops: float = 0.0
    tokens: int = 0
    atoms: int = 0
    seconds: float = 0.0


class Phases(pl.Callback):
    """Tells the counter where the run stands.

    Args:
        operations: the counter.
        point: that is trained.
        report: that its amounts are written into.
    """

    def __init__(self, operations: Operations, point: Point, report: Report):
        self.operations, self.point, self.report = operations, point, report
        self.accumulate = point.settings.micro_batching.accumulate
        self._at(-1, "start")

    def _at(self, step: int, phase: str) -> None:
        self.step = step
        self.operations.phase = step, phase

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self._at(batch_idx // self.accumulate, "forward")
        if self.step == COUNTED:
            self.report.model_flops += self.point.batch_flops(batch)
            self.report.tokens += batch.counts.get("tokens", 0)
            self.report.atoms += batch.counts.get("atoms", 0)

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        self._at(self.step, "backward")

    def on_after_backward(self, trainer: Any, module: Any) -> None:
        self._at(self.step, "loop")

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self._at(self.step, "optimizer")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # Ours is the last callback: the step boundary has been here before, in the phase of the optimizer.
        self._at(self.step, "loop")


def to_device(module: nn.Module, mode: FakeDeviceMode) -> None:
    """Give a module fake weights and buffers on the device, each one once.

    Args:
        module: is changed.
        mode: that its tensors belong to.
    """
    made: dict[int, Any] = {}
    with mode:
        for part in module.modules():
            for own in (part._parameters, part._buffers):
                for name, tensor in own.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in made:
                        fake = torch.empty_strided(
                            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda"
                        )
                        learns = isinstance(tensor, nn.Parameter)
                        made[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if learns else fake
                    own[name] = made[id(tensor)]


def run_case(case: Case, folder: Path) -> Report:
    """Train a case for a few steps and count one of them.

    Args:
        case: that is run.
        folder: for data and runs.
    """
    overrides = common(case, folder)
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        config = compose("train", overrides=overrides)
    OmegaConf.resolve(config)
    with mock.patch.object(sections, "refuse_precision"):  # it has no GPU to plan for
        point = read_point(config, overrides)
    record = open_record(point, overrides, keep=False)
    mode = FakeDeviceMode(allow_non_fake_inputs=True)
    with torch.device("meta" if case.language else "cpu"):
        module = point.build_module()
    to_device(module, mode)
    report = Report()
    operations = Operations(integer=ATOMS)
    phases = Phases(operations, point, report)
    with (
        cuda_is_there(operations.wait),
        mock.patch.object(CheckpointWriter, "save"),
        mock.patch.object(Strategy, "teardown"),  # it moves the optimizer's state to the host
        mock.patch.object(nn.Module, "_apply", lambda self, fn, recurse=True: self),  # it is there already
        mode,
        operations,
        TrainingSession.open(point, record, [phases]) as session,
    ):
        session.fit(module)
    return finish(report, operations)


def finish(report: Report, operations: Operations) -> Report:
    """Sum up the counted step.

    Args:
        report: is filled in.
        operations: of the run.
    """
    total = Phase()
    for (step, name), phase in operations.phases.items():
        if step == COUNTED:
            total.add(phase)
            report.phases[name] = phase.kernels
    for key in ("operations", "kernels", "bytes", "flops", "gpu_seconds", "host_seconds"):
        setattr(report, key, getattr(total, key))
    report.waits = dict(Counter(total.waits))
    report.top = [
        (name, total.names[name], 1e3 * seconds) for name, seconds in total.seconds_of.most_common(12)
    ]
    return report


def main(result: Path, names: Sequence[str]) -> None:
    """Run cases and write a mapping of their reports, or of what went wrong.

    Args:
        result: file that is written; data and runs lie beside it.
        names: of cases.
    """
    reports: dict[str, Any] = {}
    for name in names:
        started = time.perf_counter()
        try:
            report = run_case(CASES[name], result.parent)
        except Exception:
            reports[name] = {"error": traceback.format_exc()}
        else:
            report.seconds = time.perf_counter() - started
            reports[name] = asdict(report)
        print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)
        result.write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
