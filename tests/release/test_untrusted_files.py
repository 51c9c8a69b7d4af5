"""A file that carries a program is refused and the program does not run, whatever the file is given as."""

import io
import json
import os
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from chemscale.launchers.ledger import load_ledger
from chemscale.laws.data.tables import open_table
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.models.chemgpt_hf import load_pretrained, save_pretrained
from chemscale.models.potentials import load_potential
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.preparation.sources import Source as MoleculeSource
from chemscale.molecules.tokenizers.published import ChemGPTTokenizer
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer
from chemscale.records import RunRecord, State, find_records
from chemscale.structures.sources import open_source
from chemscale.structures.store import FrameStore
from chemscale.training.checkpointing.checkpoints import LAYOUT, _write_checksums
from chemscale.training.checkpointing.gathering import whole_weights
from chemscale.training.checkpointing.safe_pickle import TRUST, UntrustedCheckpoint, check_pickles
from tests.helpers.preloaded import python
from tests.helpers.runs import finish, start


class Program:
    """What runs when it is unpickled: it leaves a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """Where the program would leave its file; afterwards it must not be there."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists(), "the program in the file was run"


def saved(content: Any) -> bytes:
    """As torch saves it."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def forms(mark: Path) -> dict[str, bytes]:
    """The program as a plain pickle, in an array of objects, and as torch saves."""
    array = io.BytesIO()
    np.save(array, np.array([Program(mark)], dtype=object), allow_pickle=True)
    return {
        "pickle": pickle.dumps(Program(mark)),
        "array": array.getvalue(),
        "torch": saved({"state_dict": Program(mark)}),
    }


def test_the_program_of_these_tests_runs_where_it_is_unpickled(tmp_path):
    made = forms(tmp_path / "ran")
    for form, unpickle in (
        ("pickle", lambda content: pickle.loads(content)),
        ("array", lambda content: np.load(io.BytesIO(content), allow_pickle=True)),
        ("torch", lambda content: torch.load(io.BytesIO(content), weights_only=False)),
    ):
        unpickle(made[form])
        assert (tmp_path / "ran").exists(), form
        (tmp_path / "ran").unlink()


# --- data ---


@pytest.mark.parametrize("form", ["pickle", "array", "torch"])
@pytest.mark.parametrize("name", ["m.csv", "m.smi", "m.jsonl", "m.parquet", "m.pkl", "m.csv.gz", "m.npy"])
def test_molecules(tmp_path, mark, form, name):
    (tmp_path / name).write_bytes(forms(mark)[form])
    with pytest.raises(ValueError, match=r"."):
        list(MoleculeSource(tmp_path / name))


@pytest.mark.parametrize("form", ["pickle", "array", "torch"])
@pytest.mark.parametrize(
    "name", ["f.npz", "f.extxyz", "f.h5", "f.db", "f.traj", "f.json", "f.pkl", "f.trj", "f.npy"]
)
def test_structures(tmp_path, mark, form, name):
    (tmp_path / name).write_bytes(forms(mark)[form])
    with pytest.raises(ValueError, match=r"."):
        list(open_source(tmp_path / name).blocks())


def test_ase_s_old_trajectories(tmp_path, mark):
    (tmp_path / "f.traj").write_bytes(b"PickleTrajectory" + forms(mark)["pickle"])
    with pytest.raises(ValueError, match=r"f\.traj"):
        list(open_source(tmp_path / "f.traj").blocks())


def test_arrays_of_structures(tmp_path, mark):
    program = np.array([Program(mark)], dtype=object)
    good = {
        "nuclear_charges": np.array([1, 1]),
        "coords": np.zeros((1, 2, 3)),
        "energies": np.zeros(1),
        "forces": np.zeros((1, 2, 3)),
    }
    for key in good:
        np.savez(tmp_path / "f.npz", **(good | {key: program}))
        with pytest.raises(ValueError, match=r"."):
            list(open_source(tmp_path / "f.npz").blocks())


def test_prepared_data(tmp_path, mark, corpus):
    for form, content in forms(mark).items():
        folder = tmp_path / form
        shutil.copytree(corpus.path, folder / "corpus")
        shard = folder / "corpus" / corpus.manifest["shards"][0]["file"]
        shard.write_bytes(content.ljust(shard.stat().st_size, b"\0")[: shard.stat().st_size])
        damaged = Corpus.open(folder / "corpus")
        assert damaged.train.tokens(0).dtype == np.dtype("<u2")  # numbers, whatever they are
        with pytest.raises(ValueError, match="damaged"):
            damaged.verify()
        for name, reader in (("manifest.json", Corpus.open), ("manifest.json", FrameStore)):
            (folder / "corpus" / name).write_bytes(content)
            with pytest.raises(ValueError, match=r"."):
                reader(folder / "corpus")
        store = FrameStore.__new__(FrameStore)
        store.path = folder
        (folder / "train.npy").write_bytes(content)
        if form == "torch":
            assert not isinstance(store.part("train"), np.ndarray)  # an archive of which nothing was read
            continue
        with pytest.raises(ValueError, match=r"."):
            store.part("train")


# --- models, tokenizers, records ---


def test_model_folders(tmp_path, mark):
    for form, content in forms(mark).items():
        folder = tmp_path / form
        save_pretrained(ChemGPT(ChemGPTConfig(vocab_size=16, width=16, layers=1, heads=2)), folder)
        for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
            (folder / name).write_bytes(content)  # beside: never looked at
        load_pretrained(folder)
        for name in ("model.safetensors", "config.json"):
            (folder / name).write_bytes(content)
            for loader in (load_pretrained, load_potential):
                with pytest.raises(ValueError, match=r"."):
                    loader(folder)


def test_tokenizers_and_records(tmp_path, mark):
    for content in forms(mark).values():
        for name in ("tokenizer.json", "record.json", "points.csv", "jobs/submission.json"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        for reader, path in (
            (SelfiesTokenizer.load, tmp_path),
            (ChemGPTTokenizer.load, tmp_path / "tokenizer.json"),
            (RunRecord.load, tmp_path),
            (open_table, tmp_path / "points.csv"),
            (load_ledger, tmp_path),
        ):
            with pytest.raises(ValueError, match=r"."):
                reader(path)


def test_a_profile_with_an_object_of_python(tmp_path, mark):
    """YAML can name objects of Python; a profile's own lines of shell run in jobs only."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "evil.yaml").write_text(f"partition: !!python/object/apply:os.mknod ['{mark}']\n")
    run = subprocess.run(
        [python(), "-m", "chemscale.train", "site=evil", "--cfg", "job"],
        env={**os.environ, "CHEMSCALE_CONFIG": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "could not determine a constructor for the tag" in run.stderr


# --- checkpoints ---


def sharded(folder: Path, strategy: str) -> Path:
    folder.mkdir(parents=True)
    (folder / LAYOUT).write_text(json.dumps({"strategy": strategy, "world": 1}))
    return folder


@pytest.mark.parametrize("form", ["pickle", "array", "torch"])
def test_checkpoints_of_one_file(tmp_path, mark, form):
    (tmp_path / "step-000000010.ckpt").write_bytes(forms(mark)[form])
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        whole_weights(tmp_path / "step-000000010.ckpt", torch.nn.Linear(2, 2))


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("name", ["mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"])
def test_checkpoints_of_zero(tmp_path, mark, name, form):
    folder = sharded(tmp_path / "step-000000010.ckpt", "zero3")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / name).write_bytes(forms(mark)[form])
    with pytest.raises(UntrustedCheckpoint, match=name):
        whole_weights(folder, torch.nn.Linear(2, 2))


def fsdp_checkpoint(folder: Path, mark: Path, *, value: Any) -> Path:
    sharded(folder, "fsdp2")
    dcp.save(
        {"state_dict": torch.nn.Linear(2, 2).state_dict(), "value": value}, checkpoint_id=folder, no_dist=True
    )
    return folder


def test_checkpoints_of_fsdp(tmp_path, mark):
    good = fsdp_checkpoint(tmp_path / "good", mark, value={"lr": 0.1, "betas": (0.9, 0.95)})
    check_pickles(good)
    like = torch.nn.Linear(2, 2)
    assert whole_weights(good, like)["weight"].shape == (2, 2)
    with pytest.raises(UntrustedCheckpoint, match=r"would run .*mknod"):
        check_pickles(fsdp_checkpoint(tmp_path / "value", mark, value=Program(mark)))
    (good / "meta.pt").write_bytes(forms(mark)["torch"])
    with pytest.raises(UntrustedCheckpoint, match=r"meta\.pt would run"):
        whole_weights(good, like)
    (good / "meta.pt").unlink()
    (good / ".metadata").write_bytes(forms(mark)["pickle"])
    with pytest.raises(UntrustedCheckpoint, match="not a table"):
        whole_weights(good, like)


def test_a_table_of_a_checkpoint_that_reaches_for_more(tmp_path, mark):
    """Names of the right modules that are no description, with and without a dot."""
    folder = sharded(tmp_path / "c", "fsdp2")
    for module, name in (
        ("torch.distributed.checkpoint.metadata", "os.mknod"),
        ("torch.distributed.checkpoint.metadata", "field"),
        ("torch", "load"),
        ("pathlib", "os.mknod"),
        ("builtins", "eval"),
    ):
        call = pickle.PROTO + b"\x04" + pickle.SHORT_BINUNICODE + bytes([len(module)]) + module.encode()
        call += pickle.SHORT_BINUNICODE + bytes([len(name)]) + name.encode() + pickle.STACK_GLOBAL
        path = str(mark).encode()
        call += (
            pickle.BINUNICODE + len(path).to_bytes(4, "little") + path + pickle.TUPLE1 + pickle.REDUCE + b"."
        )
        (folder / ".metadata").write_bytes(call)
        with pytest.raises(UntrustedCheckpoint, match="would run"):
            check_pickles(folder)


def test_a_table_of_a_checkpoint_that_changes_a_class(tmp_path, mark):
    """Renamed, the class of pickled values would be passed over by the check, and not by PyTorch."""
    folder = fsdp_checkpoint(tmp_path / "c", mark, value=Program(mark))
    change = b"ctorch.distributed.checkpoint.metadata\nBytesStorageMetadata\n" + pickle.NONE
    change += b"}X\x08\x00\x00\x00__name__X\x05\x00\x00\x00Others" + pickle.TUPLE2 + pickle.BUILD + pickle.POP
    table = (folder / ".metadata").read_bytes()
    assert table[:3] == b"\x80\x04\x95"  # protocol, and a frame that the change comes before
    (folder / ".metadata").write_bytes(table[:2] + change + table[2:])
    with pytest.raises(UntrustedCheckpoint, match=r"would change BytesStorageMetadata\.__name__"):
        whole_weights(folder, torch.nn.Linear(2, 2))
    assert BytesStorageMetadata.__name__ == "BytesStorageMetadata"


def test_one_s_own_checkpoint_can_be_loaded_as_it_is(tmp_path, monkeypatch):
    folder = sharded(tmp_path / "c", "zero1")
    (folder / "odd.pt").write_bytes(saved({"kind": zipfile.ZipFile}))
    with pytest.raises(UntrustedCheckpoint, match=rf"would run zipfile\.ZipFile.*{TRUST}=1"):
        check_pickles(folder)
    monkeypatch.setenv(TRUST, "1")
    check_pickles(folder)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single", "zero1"])
def test_a_run_does_not_resume_from_a_program(tmp_path, mark, smiles_file, strategy):
    """Real checkpoints pass, and one that was replaced, with right checksums, ends the run."""
    command = [
        *(python(), "-m", "chemscale.train", "model.width=16", "model.layers=2", "model.heads=2"),
        *("batch.tokens=1024", "data.block=128", "trainer.accelerator=cpu", "budget.steps=6"),
        *(
            "data=smiles",
            f"data.path={smiles_file}",
            "data.validation_fraction=0.1",
            "data.prepare_workers=1",
        ),
        *("logger=jsonl", f"strategy={strategy}"),
    ]
    finish(start(tmp_path, command))
    ((folder, record),) = find_records(tmp_path / "runs")
    (folder / "model").rename(folder / "old-model")
    (checkpoint,) = folder.glob("checkpoints/*.ckpt")
    if strategy != "single":
        check_pickles(checkpoint)
    program = forms(mark)["torch"]
    target = {
        "single": checkpoint,
        "zero1": checkpoint / "checkpoint" / "mp_rank_00_model_states.pt",
    }[strategy]
    target.write_bytes(program)
    _write_checksums(checkpoint, checkpoint)
    record.state, record.final = State.PREEMPTED, None
    record.save(folder)
    run = start(tmp_path, command)
    output, _ = run.communicate(timeout=300)
    assert run.returncode != 0
    assert "would run" in output or "Weights only load failed" in output
