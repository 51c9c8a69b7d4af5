"""Memory of each rank under every strategy, measured on real gloo ranks, beside the plan's prediction.

    python benchmarks/memory_per_rank.py [--ranks 2 4] [--strategies ddp zero1 …] [--width 1024] [--layers 6]

Ranks are processes of this machine that take four optimizer steps of a ChemGPT on the starter molecules
through the project's own strategies. Two things are measured on each, and the fullest is printed:

- states: bytes of all live tensors, each storage once, when the optimizer has stepped: weights, gradients
  with the flat buffers that a strategy keeps, optimizer;
- peak: what was alive before the second step and the most that was allocated on top of it from there on, as
  PyTorch's profiler counts it: activations, buckets, gathered weights. Under FSDP2 gloo's threads free what
  they sent unseen by the profiler; there it is the peak of resident memory, less what was resident beside
  tensors (glibc is told to give back at once what is freed).

Give the model more than 50 million parameters, the size of ZeRO's buckets, or these are all that is seen.
Four ranks of 76 million take 7 GB.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
    "use_distributed_sampler": False,
}


def overrides(options: argparse.Namespace, strategy: str, ranks: int, folder: Path) -> list[str]:
    """The point that every rank trains."""
    return [
        f"model.width={options.width}",
        f"model.layers={options.layers}",
        "model.heads=8",
        "model.max_positions=512",
        "data.count=2000",
        "data.prepare_workers=1",
        f"batch.accumulate={options.accumulate}",
        f"batch.tokens={options.positions * ranks * options.accumulate}",
        "budget.steps=4",
        f"strategy={strategy}",
        f"launcher.gpus_per_node={ranks}",
        f"precision={options.precision}",
        f"trainer.checkpoint_activations={str(options.recompute).lower()}",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
        "logger=jsonl",
        f"runs={folder / 'runs'}",
        f"corpora={options.corpora or folder / 'corpora'}",
    ]


def read(arguments: list[str]) -> Any:
    """The point of a list of overrides."""
    from hydra import compose, initialize_config_dir

    from chemscale.points.build import read_point

    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return read_point(compose("train", arguments), arguments)


# --- one rank ---


def live_bytes() -> int:
    """Bytes of all tensors that Python can reach, each storage once."""
    import torch

    gc.collect()
    found: dict[int, int] = {}
    for thing in gc.get_objects():
        if not isinstance(thing, torch.Tensor):
            continue
        tensors = [getattr(thing, "_local_tensor", thing)]
        if thing.is_leaf and thing.grad is not None:
            tensors.append(getattr(thing.grad, "_local_tensor", thing.grad))
        for tensor in tensors:
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    found.pop(0, None)
    return sum(found.values())


def resident(key: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {key}")


def most_allocated(recorded: Any) -> int:
    """The highest sum of what was allocated and freed, in bytes, over a profile."""
    now = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def run_rank(arguments: list[str]) -> None:
    """Train as one rank, and print what was alive."""
    import pytorch_lightning as pl
    import torch
    from torch.profiler import ProfilerActivity, profile

    from chemscale.training.distributed.strategies import ZERO, build_strategy, resolve

    torch.set_num_threads(1)
    point = read(arguments)
    ranks, accumulate = int(os.environ["WORLD_SIZE"]), point.config["batch"]["accumulate"]
    name = resolve(point.settings.strategy, point.precision, ranks, forces=point.settings.forces)
    torch.manual_seed(0)
    base = live_bytes()
    module = point.build_module()
    seen = {"states": 0, "beside": 0, "before": 0}
    allocated = profile(activities=[ProfilerActivity.CPU], profile_memory=True)

    class Probe(pl.Callback):
        """Looks when the optimizer has moved the weights, and before the second step."""

        def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            for optimizer in trainer.optimizers:
                inner = getattr(optimizer, "optimizer", optimizer)
                inner.register_step_post_hook(lambda *_: self.look())

        def look(self) -> None:
            seen["states"] = max(seen["states"], live_bytes() - base)

        def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, index: int) -> None:
            if index == accumulate:
                seen["before"] = live_bytes() - base
                seen["beside"] = resident("VmRSS") - seen["before"]
                if name != "fsdp2":
                    allocated.__enter__()
                Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew

    precision = {} if name in ZERO else {"precision": {"32": "32-true"}.get(point.precision, point.precision)}
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy=build_strategy(name, point.settings, torch.device("cpu")),
        max_steps=point.steps,
        max_epochs=-1,
        callbacks=[Probe()],
        gradient_clip_val=1.0,
        accumulate_grad_batches=accumulate,
        default_root_dir=str(point.directory),
        **precision,
        **QUIET,
    )
    trainer.fit(module, datamodule=point.data)
    peak = resident("VmHWM") - seen["beside"]
    if name != "fsdp2":
        allocated.__exit__(None, None, None)
        peak = seen["before"] + most_allocated(allocated)
    found = {"states": seen["states"], "peak": peak}
    print("RANK " + json.dumps(found), flush=True)


# --- all ranks ---


def measure(arguments: list[str], ranks: int) -> dict[str, int]:
    """Bytes of the fullest rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(ranks),
        "NODE_RANK": "0",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "--rank", *arguments],
            env={**shared, "LOCAL_RANK": str(rank), "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    found = []
    for process in processes:
        output = process.communicate()[0]
        lines = [line for line in output.splitlines() if line.startswith("RANK ")]
        if process.returncode or not lines:
            raise SystemExit(f"A rank failed:\n{output[-3000:]}")
        found.append(json.loads(lines[-1].removeprefix("RANK ")))
    return {key: max(each[key] for each in found) for key in found[0]}


def predicted(memory: Any) -> dict[str, float]:
    """The plan's bytes for what is measured. DDP's second set of buckets is gone when the last step ends."""
    return {"states": memory.states + memory.stepping, "peak": memory.total}


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        run_rank(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[2])
    parser.add_argument("--strategies", nargs="+", default=["ddp", "zero1", "zero2", "zero3", "fsdp2"])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--positions", type=int, default=512, help="of a micro-batch, a multiple of 512")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--precision", default="32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--corpora", type=Path, help="folder of prepared corpora to use")
    options = parser.parse_args()
    print("MiB of the fullest rank: measured, planned, difference")
    heads = "".join(f"{key:>9}{'plan':>8}{'':8}" for key in ("states", "peak"))
    print(f"{'strategy':9}{'ranks':>6}{'parameters':>13}{heads}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for ranks in options.ranks:
            for strategy in options.strategies:
                arguments = overrides(options, strategy, ranks, Path(folder))
                point = read(arguments)
                plan, found = predicted(point.memory()), measure(arguments, ranks)
                cells = "".join(
                    f"{found[key] / MIB:9.0f}{plan[key] / MIB:8.0f}{plan[key] / found[key] - 1:+8.1%}"
                    for key in ("states", "peak")
                )
                print(f"{strategy:9}{ranks:6}{point.parameter_counts()['all']:13,}{cells}", flush=True)


if __name__ == "__main__":
    main()
