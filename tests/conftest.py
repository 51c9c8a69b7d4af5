"""What tests share: one thread each, a small corpus, and the real data where it is present."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["HF_HUB_OFFLINE"] = "1"

import signal
from pathlib import Path

import pytest
import torch

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.starter.recombine import starter_smiles

torch.set_num_threads(1)

# A shell that starts the tests in the background makes their processes deaf to Ctrl-C; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).resolve().parent
LONG = ("docs", "integration", "compatibility", "dashboards", "launchers")
"""Folders that begin first where several processes share the files, so that none ends long after others."""
MAX_WORKERS = 8
ONE_AT_A_TIME = ("slurm", "gpu")
"""Marks of tests that share one cluster or one device."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of ``-n auto``: one a core; none where files or tests are named, whose start would double."""
    named = any(".py" in argument for argument in config.args)
    if named or config.option.markexpr in ONE_AT_A_TIME:
        return 0
    return min(MAX_WORKERS, len(os.sched_getaffinity(0)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order files by their folder, the long ones first."""
    rank = {folder: number for number, folder in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(TESTS).parts[0], len(LONG)))


@pytest.fixture(scope="session")
def smiles() -> list[str]:
    """400 drug-like molecules."""
    return starter_smiles(400, workers=1)


@pytest.fixture(scope="session")
def smiles_file(smiles: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smiles") / "molecules.smi"
    path.write_text("".join(f"{s}\n" for s in smiles))
    return path


@pytest.fixture(scope="session")
def corpus(smiles_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return build_corpus([smiles_file], tmp_path_factory.mktemp("corpus"), workers=1, validation_fraction=0.1)
