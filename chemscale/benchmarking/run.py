"""The command ``bench``: what was asked for is checked, done, printed and written."""

from __future__ import annotations

import dataclasses
import logging
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from chemscale.benchmarking.inputs import make_inputs
from chemscale.benchmarking.participants import Checkout, Setting, check_peer, this_checkout
from chemscale.benchmarking.report import contents, sentences, table_of
from chemscale.benchmarking.revision import check_out
from chemscale.benchmarking.session import QUICK, Clock, Session
from chemscale.benchmarking.works import Work
from chemscale.common.files import write_json
from chemscale.common.versions import git_revision
from chemscale.training.metrics.throughput import device_name

log = logging.getLogger(__name__)

MODES = ("eager", "compiled")
PRECISIONS = ("32", "tf32", "bf16-mixed")


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Args:
        works: in order.
        device: cpu or cuda.
        quick: short turns, few data.
        peers: NAME=PYTHON each.
        against: a commit, or None.
        modes: of training, between commas; None for eager, and on a GPU compiled as well.
        precision: of the forward pass.
        tokens: positions of a step of a ChemGPT.
        threads: of each process.
        turns: of each; None for what `quick` says.
        seconds: of a turn; None likewise.
        padded: whether transformers is also padded to 512.
        molecules: a file, or None.
        structures: a file, or None.

    Raises:
        ValueError: a way to run, precision or number of positions that there is not.
    """

    works: Sequence[Work]
    device: str
    quick: bool
    peers: Sequence[str]
    against: str | None
    modes: str | None
    precision: str
    tokens: int
    threads: int
    turns: int | None
    seconds: float | None
    padded: bool
    molecules: Path | None
    structures: Path | None

    def __post_init__(self) -> None:
        if self.modes is not None and not set(self.modes.split(",")) <= set(MODES):
            raise ValueError(f"--modes {self.modes}: give eager, compiled, or both between a comma.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"--precision {self.precision}: choose {', '.join(PRECISIONS)}.")
        if self.tokens % 512:
            raise ValueError(f"--tokens {self.tokens}: give a multiple of 512.")

    @property
    def setting(self) -> Setting:
        """What holds for every work."""
        usual = MODES if self.device == "cuda" else MODES[:1]
        modes = tuple(self.modes.split(",")) if self.modes else usual
        return Setting(self.device, self.threads, self.precision, self.tokens, modes, self.padded)

    @property
    def clock(self) -> Clock:
        """How long is timed."""
        usual = QUICK if self.quick else Clock()
        seconds = usual.seconds if self.seconds is None else self.seconds
        return dataclasses.replace(usual, rounds=self.turns or usual.rounds, seconds=seconds)


def read_peers(texts: Sequence[str]) -> dict[str, str]:
    """Interpreters by the name of the code that they have.

    Args:
        texts: NAME=PYTHON each.

    Raises:
        ValueError: another form, or a code that is not there.
    """
    found = {}
    for text in texts:
        name, equals, python = text.partition("=")
        if not equals or not python:
            raise ValueError(f"--peer {text}: give NAME=PYTHON, such as mace=venvs/mace/bin/python.")
        # An interpreter of a virtual environment is a link: to resolve it would leave the environment.
        path = Path(python).expanduser()
        found[name] = str(path.absolute()) if path.exists() else python
        check_peer(name, found[name])
    return found


def run(request: Request, to: Path | None) -> bool:
    """Do what was asked for, print the table, write JSON; whether nobody failed.

    Args:
        request: what was asked for.
        to: file for the figures; None for none.

    Raises:
        ValueError: that file cannot be written, which is tried before anything is timed.
        WorkerError: the ceilings could not be measured, or data not be prepared.
    """
    if to is not None:
        check_writable(to)
    peers = read_peers(request.peers)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="chemscale-bench-") as name:
        folder = Path(name)
        checkouts = [this_checkout()]
        if request.against:
            root = folder / "against"
            checkouts.append(Checkout.at(root, f"chemscale {check_out(request.against, root)}"))
        files = request.molecules, request.structures
        inputs = make_inputs(folder, request.works, *files, quick=request.quick)
        session = Session(request.setting, request.clock, inputs, checkouts, peers, folder)
        ceilings = session.ceilings()
        results: list[dict[str, Any]] = []
        for outcome in session.run(request.works):
            results.append(contents(outcome, ceilings))
            report = {**about(request, ceilings, inputs.description), "works": results}
            if to is not None:  # after each work: an interruption keeps what was timed
                write_json(to, report)
            for line in sentences(results[-1:]):
                log.info("%s", line)
    Console(width=None if console.is_terminal else 150).print(table_of(results))
    for line in (describe_ceilings(ceilings), *sentences(results)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return not any(result["failed"] for result in results)


def check_writable(path: Path) -> None:
    """Refuse a file for figures that could not be written after minutes of timing.

    Args:
        path: of the file; its folder is made.

    Raises:
        ValueError: saying why.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"--json {path} cannot be written: {error.strerror or error}.") from None


def about(request: Request, ceilings: Mapping[str, float], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Machine, versions and settings of a report.

    Args:
        request: what was asked for.
        ceilings: as measured.
        inputs: where data are from.
    """
    return {
        "format": "chemscale-bench-1",
        "device": device_name(torch.device(request.device)),
        "system": platform.platform(),
        "torch": torch.__version__,
        "revision": git_revision(),
        "against": request.against,
        "ceilings": {
            "product_flops_per_second": ceilings["product"],
            "copy_bytes_per_second": ceilings["copy"],
        },
        "clock": dataclasses.asdict(request.clock),
        "setting": dataclasses.asdict(request.setting),
        "inputs": dict(inputs),
    }


def describe_ceilings(ceilings: Mapping[str, float]) -> str:
    """The ceilings in a sentence.

    Args:
        ceilings: ``product`` FLOP/s and ``copy`` bytes/s.
    """
    return (
        f"Ceilings measured here: a matrix product {ceilings['product'] / 1e9:,.0f} GFLOP/s, a copy "
        f"{ceilings['copy'] / 1e9:,.1f} GB/s read and written. % product counts matrix products only; % copy "
        "counts what eager operations read and write, from caches or not."
    )
