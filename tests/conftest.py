"""What tests share: one thread each, a small corpus, and the real data where it is present."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.starter.recombine import starter_smiles

torch.set_num_threads(1)


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
