"""The gradient-equivalence certificate: every strategy trains as one float32 process does.

A case trains a small real model for 20 steps on real batches through the whole of chemscale, under one
strategy, precision, accumulation and number of ranks. At every step the gradient of every parameter,
gathered from wherever the strategy keeps it, and the loss are compared with those of one process in float32
without accumulation.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from torch.distributed.tensor import DTensor

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import read_point
from chemscale.points.run import fit, open_record
from chemscale.training.distributed.ranks import take_gpu, this_rank

STEPS = 20
TOLERANCES = {
    "32": (5e-5, 1e-6),
    "tf32": (5e-3, 1e-4),
    "bf16-mixed": (1e-2, 2e-4),
    "16-mixed": (5e-3, 1e-4),
}
"""Largest relative error of the gradient (norm of the difference over the norm) and of the loss, at any step.

Float32 sums taken in another order differ by some 1e-7, and training amplifies that; tf32 and float16 keep
11 bits of a product's factors, bf16 8.
"""
LOSS_SCALE = 2.0**10
"""Of 16-mixed in the certificate. PyTorch begins with 2¹⁶ and leaves steps out until nothing overflows."""
ON_CPU = ("32", "bf16-mixed")
"""Precisions that a CPU has."""

MODELS = {
    "chemgpt": ["batch.tokens=4096", "data.block=256", "data.molecules=4000", "data.validation_molecules=64"],
    "chemgpt-recompute": [],
    "schnet": ["task=potential", "model=schnet"],
    "painn": ["task=potential", "model=painn"],
    "allegro": ["task=potential", "model=allegro", "model.tensors=4", "model.l_max=1"],
}
POTENTIAL = ["batch.frames=16", "data.frames=256", "data.validation_frames=16", "data.count=400", "lint=off"]
COMMON = [
    *("model.layers=2", "model.width=16", "optimizer.lr=1e-3", "budget.epochs=null", f"budget.steps={STEPS}"),
    *("trainer.log_every=1", "trainer.validate_every=1000", "trainer.accelerator=cpu", "logger=jsonl"),
    *("schedule=constant", "schedule.warmup=5"),
]
RECOMPUTE = "-recompute"
"""Suffix of a model that recomputes its activations in backward; its reference does not."""
STRATEGIES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")
REFERENCE = ("single", "32", 1, 1)


@dataclass(frozen=True)
class Case:
    """One training of the certificate.

    Args:
        model: a name in `MODELS`.
        strategy: of training.
        precision: of training.
        accumulate: micro-batches of an optimizer step.
        world: number of ranks.
    """

    model: str
    strategy: str
    precision: str
    accumulate: int
    world: int

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.model}-{self.strategy}-{self.precision}-k{self.accumulate}-w{self.world}"

    def overrides(self) -> list[str]:
        """Keys and values that configure it."""
        own = MODELS[self.model.removesuffix(RECOMPUTE)]
        own = own + (["model.heads=2"] if self.model.startswith("chemgpt") else POTENTIAL)
        if self.model.endswith(RECOMPUTE):
            own = [*own, "trainer.checkpoint_activations=true"]
        return [
            *own,
            *COMMON,
            f"strategy={self.strategy}",
            f"precision={self.precision}",
            f"batch.accumulate={self.accumulate}",
            f"launcher.gpus_per_node={self.world}",
        ]


@dataclass(frozen=True)
class Verdict:
    """Result of a case.

    Args:
        case: that was run.
        gradient: largest relative error of the gradient at any step.
        loss: largest relative error of the loss at any step.
        refused: why the configuration is refused; empty if it is not.
    """

    case: Case
    gradient: float = float("nan")
    loss: float = float("nan")
    refused: str = ""

    @property
    def passed(self) -> bool:
        """Whether both errors are within the tolerances of the precision, or the case is refused."""
        of_gradient, of_loss = TOLERANCES[self.case.precision]
        return bool(self.refused) or (self.gradient <= of_gradient and self.loss <= of_loss)


def reference(model: str) -> Case:
    """The case that others of the model are compared with: one process, float32, no accumulation."""
    strategy, precision, accumulate, world = REFERENCE
    return Case(model.removesuffix(RECOMPUTE), strategy, precision, accumulate, world)


def all_cases(
    models: Sequence[str],
    worlds: Sequence[int],
    strategies: Sequence[str] = STRATEGIES,
    precisions: Sequence[str] = ON_CPU,
    accumulations: Sequence[int] = (1, 4),
) -> Iterator[Case]:
    """Every combination, and one rank under ``single``; the references are left out.

    Args:
        models: names in `MODELS`.
        worlds: numbers of ranks.
        strategies: names in `STRATEGIES`.
        precisions: names in `TOLERANCES`.
        accumulations: micro-batches of an optimizer step.

    Raises:
        ValueError: a name that is not known, or a number below 1.
    """
    for what, given, known in (
        ("models", models, MODELS),
        ("strategies", strategies, STRATEGIES),
        ("precisions", precisions, TOLERANCES),
    ):
        wrong = [name for name in given if name not in known]
        if wrong:
            raise ValueError(f"--{what} {','.join(wrong)}: choose of {', '.join(known)}.")
    if min(*worlds, *accumulations, 1) < 1:
        raise ValueError("--worlds and --accumulate take whole numbers above 0.")
    for world in worlds:
        named = ("single", *(s for s in strategies if s != "ddp")) if world == 1 else strategies
        for model, strategy, precision, k in itertools.product(models, named, precisions, accumulations):
            case = Case(model, strategy, precision, k, world)
            if case != reference(model):
                yield case


# --- in a rank -------------------------------------------------------------------------------------------


class GradientProbe(pl.Callback):
    """Callback that keeps the whole gradient of every step as it reaches the optimizer, before clipping."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Scale a float16 loss by what overflows nowhere: a step that is left out has no counterpart."""
        plugin: Any = trainer.precision_plugin
        if getattr(plugin, "scaler", None) is not None:
            plugin.scaler = torch.amp.GradScaler(module.device.type, init_scale=LOSS_SCALE)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: Any
    ) -> None:
        """Keep the gradient; DeepSpeed calls this for micro-batches too, which are left out."""
        engine: Any = trainer.model
        if trainer.strategy.handles_gradient_accumulation and not engine.is_gradient_accumulation_boundary():
            return
        trained = [p for p in module.parameters() if p.requires_grad]
        self.steps.append(torch.cat([self._whole(trainer, p).flatten().double().cpu() for p in trained]))

    @staticmethod
    def _whole(trainer: pl.Trainer, parameter: Tensor) -> Tensor:
        if trainer.strategy.handles_gradient_accumulation:
            from deepspeed.utils import safe_get_full_grad

            found = safe_get_full_grad(parameter)
            return torch.zeros_like(parameter) if found is None else found.detach().clone()
        if parameter.grad is None:
            return torch.zeros_like(parameter)
        grad = parameter.grad.detach()
        return grad.full_tensor() if isinstance(grad, DTensor) else grad


def run_cases(cases: Sequence[Case], folder: Path, shared: Sequence[str]) -> None:
    """Train each case in this rank; rank 0 writes its gradients and losses, or why it was refused.

    Args:
        cases: all of the same number of ranks.
        folder: where the results are written.
        shared: overrides of all cases.
    """
    accelerator = "cuda" if "trainer.accelerator=cuda" in shared else "cpu"
    ranks = this_rank(accelerator)
    take_gpu(ranks, accelerator)
    for case in cases:
        overrides = [*case.overrides(), *shared, f"runs={folder}/runs", f"sweep_name={case.key}"]
        with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
            config = compose("train", overrides=overrides)
        OmegaConf.resolve(config)
        outcome: dict[str, Any] = {}
        try:
            point = read_point(config, overrides)
        except ValueError as error:
            outcome["refused"] = str(error)
        else:
            probe = GradientProbe()
            record = open_record(point, overrides, keep=ranks.is_first)
            fit(point, record, extra=[probe])
            if ranks.is_first:
                rows = [row for row in record.curve_rows(point.directory) if row["kind"] == "train"]
                outcome = {"losses": [row["loss"] for row in rows], "gradients": torch.stack(probe.steps)}
        if ranks.is_first:
            torch.save(outcome, folder / f"{case.key}.pt")
            print(f"{case.key}", flush=True)
            shutil.rmtree(folder / "runs", ignore_errors=True)


# --- outside ---------------------------------------------------------------------------------------------


def certify(
    cases: Sequence[Case], shared: Sequence[str] = (), report: Callable[[str], None] | None = None
) -> list[Verdict]:
    """Run the cases, all of one number of ranks in the same processes, and compare.

    Args:
        cases: what is to be certified.
        shared: overrides of where prepared data are kept.
        report: called with a line before each number of ranks.

    Raises:
        RuntimeError: ranks that failed, with the end of their output.
    """
    wanted = [*dict.fromkeys(reference(case.model) for case in cases), *cases]
    with tempfile.TemporaryDirectory(prefix="chemscale-certificate-") as name:
        folder = Path(name)
        for world in sorted({case.world for case in wanted}):
            of_world = [case for case in wanted if case.world == world]
            if report is not None:
                report(f"{len(of_world)} cases on {world} rank{'s' if world > 1 else ''} …")
            _start_ranks(of_world, world, folder, shared)
        exact = {model: _read(folder, reference(model)) for model in {case.model for case in cases}}
        return [compare(case, _read(folder, case), exact[case.model]) for case in cases]


def compare(case: Case, outcome: dict[str, Any], exact: dict[str, Any]) -> Verdict:
    """Compare a case with its reference: the largest relative errors at any step.

    Args:
        case: that was run.
        outcome: its gradients and losses, or why it was refused.
        exact: gradients and losses of its reference.
    """
    if "refused" in outcome:
        return Verdict(case, refused=outcome["refused"])
    difference = (outcome["gradients"] - exact["gradients"]).norm(dim=1) / exact["gradients"].norm(dim=1)
    losses = zip(outcome["losses"], exact["losses"], strict=True)
    return Verdict(case, float(difference.max()), max(abs(a - b) / abs(b) for a, b in losses))


def _read(folder: Path, case: Case) -> dict[str, Any]:
    return torch.load(folder / f"{case.key}.pt", weights_only=True)


def _start_ranks(cases: Sequence[Case], world: int, folder: Path, shared: Sequence[str]) -> None:
    """Run cases in as many processes as ranks, and wait for them."""
    task = folder / f"world-{world}.json"
    task.write_text(json.dumps({"cases": [asdict(case) for case in cases], "shared": list(shared)}))
    ranks = []
    for rank in range(world):
        environment = {
            "SUBMITIT_EXECUTOR": "local",
            "SUBMITIT_LOCAL_JOB_ID": f"certificate-{os.getpid()}-{world}",
            "SUBMITIT_LOCAL_NTASKS": str(world),
            "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
            "SUBMITIT_LOCAL_NODEID": "0",
            "SUBMITIT_LOCAL_GLOBALID": str(rank),
            "SUBMITIT_LOCAL_LOCALID": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        output = open(folder / f"world-{world}-rank-{rank}.log", "w")  # noqa: SIM115 (closed with the process)
        command = [sys.executable, "-m", "chemscale.testing.equivalence", str(task)]
        ranks.append(
            subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=output)
        )
    codes = [process.wait() for process in ranks]
    if any(codes):
        worst = next(rank for rank, code in enumerate(codes) if code)
        tail = (folder / f"world-{world}-rank-{worst}.log").read_text()[-3000:]
        raise RuntimeError(f"Rank {worst} of {world} ended with status {codes[worst]}:\n{tail}")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    read = json.loads(path.read_text())
    run_cases([Case(**case) for case in read["cases"]], path.parent, read["shared"])
