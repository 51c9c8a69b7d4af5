"""Who does a work: ours eager and compiled, another revision, and the codes that interpreters have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.benchmarking.inputs import Inputs
from chemscale.benchmarking.processes import Worker, environment
from chemscale.benchmarking.works import LONGEST, TOKENS_OF_A_MOLECULE, Work, overrides
from chemscale.common.paths import PACKAGE

PEERS = {
    "schnetpack": ("schnetpack_models.py", ("painn", "schnet"), False),
    "nequip": ("nequip_models.py", ("nequip",), True),
    "allegro": ("nequip_models.py", ("allegro",), True),
    "mace": ("mace_models.py", ("mace",), True),
    "transformers": ("transformers_models.py", ("chemgpt",), False),
}
"""Name → its script, the families that it has, and whether it can be compiled for training."""
OURS = "chemscale"


@dataclass(frozen=True)
class Setting:
    """What holds for every work of a session.

    Args:
        device: cpu or cuda.
        threads: of the processor, for each process.
        precision: of the forward pass: 32, tf32 or bf16-mixed.
        tokens: positions of a step of a ChemGPT.
        modes: of training, where a code has both: eager, compiled.
        padded: whether transformers also trains on rows padded to 512, the length in the paper's code.
    """

    device: str
    threads: int
    precision: str
    tokens: int
    modes: tuple[str, ...]
    padded: bool = False


@dataclass(frozen=True)
class Checkout:
    """A revision of ours that works are done with.

    Args:
        name: in tables.
        root: folder that holds the package.
        compiles: whether it knows ``trainer.compile``.
    """

    name: str
    root: Path
    compiles: bool

    @classmethod
    def at(cls, root: Path, name: str) -> Checkout:
        """A checkout or an installed package; what it knows is read from its configuration."""
        folders = (root / "conf", root / "chemscale" / "conf")
        file = next(folder for folder in folders if folder.is_dir()) / "trainer" / "default.yaml"
        lines = file.read_text().splitlines()
        return cls(name, root, any(line.startswith("compile:") for line in lines))


def this_checkout() -> Checkout:
    """The revision that runs now."""
    return Checkout.at(PACKAGE.parent, OURS)


def participants(
    work: Work, setting: Setting, inputs: Inputs, checkouts: Sequence[Checkout], peers: Mapping[str, str]
) -> list[Worker]:
    """Everyone who does a work, ours first.

    Args:
        work: that is done.
        setting: of the session.
        inputs: files.
        checkouts: revisions of ours, this one first.
        peers: interpreters by the name of the code.
    """
    ours = [worker for checkout in checkouts for worker in _ours(work, setting, inputs, checkout)]
    return [
        *ours,
        *(worker for name in peers for worker in _theirs(work, setting, inputs, name, peers[name])),
    ]


def _ours(work: Work, setting: Setting, inputs: Inputs, checkout: Checkout) -> Iterator[Worker]:
    python, root = sys.executable, checkout.root
    if work.kind == "command":
        command = ["-m", "chemscale.train", "+sweep=chemgpt_sizes", "logger=none", *data_of(work, inputs)]
        command += [f"trainer.accelerator={setting.device}"]
        yield Worker(checkout.name, "command.py", {"command": command}, python, root)
    elif work.kind != "training":
        yield Worker(checkout.name, "chemscale_library.py", _task(work, setting, inputs), python, root)
    else:
        values = {**vars(setting), "data": data_of(work, inputs)}
        for mode in setting.modes if checkout.compiles else ("eager",):
            compiled = mode == "compiled" if checkout.compiles else None
            task = {
                "overrides": overrides(work, values, compiled),
                "unit": work.unit,
                "count": mode == "eager",
            }
            name = f"{checkout.name}, {mode}" if checkout.compiles else checkout.name
            yield Worker(name, "chemscale_training.py", task, python, root)


def _theirs(work: Work, setting: Setting, inputs: Inputs, name: str, python: str) -> Iterator[Worker]:
    script, families, compiles = PEERS[name]
    if work.model.get("family") not in families:
        return
    task = _task(work, setting, inputs)
    if name == "transformers":
        rows = max(1, round(setting.tokens / TOKENS_OF_A_MOLECULE))
        yield Worker(name, script, {**task, "rows": rows, "pad_to": None}, python)
        if setting.padded and work.kind == "training":
            padded = {**task, "rows": max(1, rows // 4), "pad_to": 512}
            yield Worker("transformers, padded to 512", script, padded, python)
        return
    for mode in setting.modes if work.kind == "training" and compiles else ("eager",):
        ways = {"compiled": mode == "compiled", "count": mode == "eager"}
        yield Worker(f"{name}, {mode}" if compiles else name, script, {**task, **ways}, python)


def _task(work: Work, setting: Setting, inputs: Inputs) -> dict[str, Any]:
    """A work as scripts are told it."""
    if work.is_language:
        shape = {key: work.model[key] for key in ("width", "layers", "heads")}
        more = {"vocabulary": inputs.vocabulary, "file": str(inputs.symbols), "precision": setting.precision}
        return {"kind": work.kind, **shape, **more, "batch": work.size, "longest": LONGEST}
    return {
        "kind": work.kind,
        "model": work.model,
        "file": str(inputs.structures),
        "frames": work.size,
        "precision": setting.precision,
    }


def data_of(work: Work, inputs: Inputs) -> list[str]:
    """Overrides that name the data of a work.

    Args:
        work: that is done.
        inputs: files.
    """
    if work.kind == "command":
        return ["data=starter", f"corpora={inputs.smiles.parent / 'corpora'}"]
    if work.is_language:
        return ["data=smiles", f"data.path={inputs.smiles}"]
    return ["data=structures", f"data.path={inputs.structures}", "data.validation_frames=16"]


def check_peer(name: str, python: str) -> None:
    """Refuse a code that is not known, or an interpreter that does not have it.

    Args:
        name: of the code.
        python: its interpreter.

    Raises:
        ValueError: in one sentence.
    """
    if name not in PEERS:
        raise ValueError(f"--peer {name}=…: choose from {', '.join(PEERS)}.")
    try:
        done = subprocess.run(
            [python, "-c", f"import {name}"],
            capture_output=True,
            text=True,
            check=False,
            env=environment(None, 1),
        )
    except OSError as error:
        raise ValueError(f"--peer {name}={python}: {error.strerror}.") from None
    if done.returncode:
        raise ValueError(f"--peer {name}={python}: {(done.stderr.strip().splitlines() or ['it fails'])[-1]}")
