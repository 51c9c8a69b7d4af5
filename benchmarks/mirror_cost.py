"""What a mirror costs training: the same point with its runs on the disk and at an address, in turns.

``python -m benchmarks.mirror_cost`` starts moto as a process of its own and trains a ChemGPT with
checkpoints of tens of megabytes. It prints seconds of training (checkpoints left out, as records count them),
CPU seconds of the training process by its main thread and by all, and what was written. Losses have to agree
to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

KEYS = ("seconds", "main_cpu", "cpu")


def train(runs: str, folder: Path, smiles: Path, steps: int) -> dict[str, object]:
    """Train the point in a process of its own, so that nothing is left over from the one before."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(read)
        found = _train(runs, folder, smiles, steps)
        with os.fdopen(write, "w") as file:
            json.dump(found, file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.wait()
    return dict(json.loads(text))


def _train(runs: str, folder: Path, smiles: Path, steps: int) -> dict[str, object]:
    from hydra import compose, initialize_config_dir

    from chemscale.common.paths import CONFIG_DIRECTORY
    from chemscale.points.build import read_point
    from chemscale.points.run import train_point
    from chemscale.records import RunRecord

    overrides = [
        *("data=smiles", f"data.path={smiles}", "data.block=128", "data.prepare_workers=1", "logger=jsonl"),
        *(
            "model.width=192",
            "model.layers=4",
            "model.heads=4",
            "batch.tokens=1024",
            f"corpora={folder}/corpora",
        ),
        *("trainer.accelerator=cpu", "budget.epochs=null", f"budget.steps={steps}", f"runs={runs}"),
        *(
            "trainer.validate_every=1000",
            "trainer.log_every=1",
            f"trainer.checkpoint_steps={max(1, steps // 4)}",
        ),
    ]
    with initialize_config_dir(config_dir=str(CONFIG_DIRECTORY), version_base=None):
        point = read_point(compose("train", overrides=overrides))
    main, whole = time.thread_time(), time.process_time()
    train_point(point, [])
    main, whole = time.thread_time() - main, time.process_time() - whole
    record = RunRecord.load(point.directory)
    rows = record.curve_rows(point.directory)
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    size = sum(path.stat().st_size for path in point.directory.rglob("*.ckpt"))
    return {
        "seconds": record.compute.seconds,
        "main_cpu": main,
        "cpu": whole,
        "losses": losses,
        "checkpoints": size,
        "problem": record.mirror.get("problem", ""),
    }


def main() -> None:
    """Train in turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16)
    asked = parser.parse_args()
    import chemscale.points.build
    import chemscale.points.run  # noqa: F401
    from chemscale.molecules.starter.recombine import starter_smiles
    from tests.helpers.object_stores import bucket_of, s3_server

    with tempfile.TemporaryDirectory() as name, s3_server() as url:
        folder = Path(name)
        smiles = folder / "molecules.smi"
        smiles.write_text("".join(f"{each}\n" for each in starter_smiles(2000, workers=1)))
        with bucket_of(url, "benchmark", folder / "cache") as bucket:
            os.environ.update(
                {k: v for k, v in bucket.environment.items() if k.startswith(("AWS_", "CHEMSCALE_"))}
            )
            taken: dict[str, list[dict[str, object]]] = {"disk": [], "mirror": []}
            train(f"{folder}/warm", folder, smiles, 4)
            for number in range(asked.rounds):
                for kind, runs in (
                    ("disk", f"{folder}/runs{number}"),
                    ("mirror", f"s3://benchmark/{number}"),
                ):
                    taken[kind].append(train(runs, folder, smiles, asked.steps))
            sent = sum(method == "PUT" for method, _ in bucket.proxy.asked)
    first = taken["disk"][0]
    assert all(each["losses"] == first["losses"] for each in (*taken["disk"], *taken["mirror"])), (
        "losses differ"
    )
    assert not any(each["problem"] for each in taken["mirror"])
    print(f"{asked.steps} steps, {asked.rounds} rounds in turns; checkpoints on the disk at the end: "
          f"{int(str(first['checkpoints'])) / 1e6:.0f} MB; {sent} writes; load {os.getloadavg()[0]:.1f}; "
          f"peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.1f} GB")  # fmt: skip
    for key in KEYS:
        medians = {
            kind: statistics.median(float(str(each[key])) for each in runs) for kind, runs in taken.items()
        }
        print(f"{key:9s} " + "  ".join(f"{kind} {value:.2f} s" for kind, value in medians.items()))


if __name__ == "__main__":
    main()
