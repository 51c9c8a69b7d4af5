"""Generation as a user runs it: every format, until enough are found, interrupted and continued."""

import csv
import math

import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from typer.testing import CliRunner

from chemscale.generate import app
from chemscale.molecules.generation import run as module
from chemscale.molecules.generation import table
from chemscale.molecules.generation.drawing import Batches
from chemscale.molecules.generation.files import WRITERS
from chemscale.molecules.generation.generator import MoleculeGenerator
from chemscale.molecules.generation.request import Request
from chemscale.molecules.generation.run import generate
from chemscale.molecules.generation.sampling import Sampling
from chemscale.molecules.likelihood import sequence_nll
from chemscale.molecules.loading import load_trained
from chemscale.molecules.row_shards import ShardError

QUIET = {"device": "cpu", "progress": False, "batch": 16}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_says_what_was_written_and_how_likely_it_was(folder, tmp_path):
    """Also for what is no molecule, and for what was cut off: never a number that means something else."""
    generate(folder, 40, out=tmp_path / "m.csv", max_length=8, **QUIET)
    model, tokenizer = load_trained(folder, "cpu")
    batches = Batches(model, tokenizer, Request(n=40, batch=16, sampling=Sampling(max_length=8)))
    drawn = [ids for number, size in enumerate((16, 16, 8)) for ids in batches.draw(number, size).ids]
    found = rows(tmp_path / "m.csv")
    assert {row["truncated"] for row in found} == {"0", "1"}
    for row, ids, nats in zip(found, drawn, sequence_nll(model, drawn).tolist(), strict=True):
        assert row["SELFIES"] == tokenizer.decode(ids)
        assert row["truncated"] == str(int(ids[-1] != tokenizer.eos_id))
        assert math.isclose(float(row["nll"]), nats, abs_tol=1e-4)
        assert (row["valid"] == "1") == bool(row["SMILES"])
        if row["valid"] == "1" and row["truncated"] == "0":
            atoms = Chem.MolFromSmiles(row["SMILES"]).GetNumHeavyAtoms()
            assert math.isclose(float(row["nats_per_heavy_atom"]) * atoms, float(row["nll"]), rel_tol=1e-9)
        else:
            assert row["nats_per_heavy_atom"] == ""


def test_all_formats_hold_the_same_molecules(folder, tmp_path):
    made = {suffix: generate(folder, 30, out=tmp_path / f"m{suffix}", **QUIET) for suffix in WRITERS}
    smiles = [row["SMILES"] for row in rows(tmp_path / "m.csv")]
    assert pq.read_table(tmp_path / "m.parquet")["SMILES"].to_pylist() == smiles
    valid = {str(number): each for number, each in enumerate(smiles, 1) if each}
    lines = [line.split("\t") for line in (tmp_path / "m.smi").read_text().splitlines()]
    assert {number: each for each, number in lines} == valid
    drawn = {m.GetProp("_Name"): Chem.MolToSmiles(m) for m in Chem.SDMolSupplier(str(tmp_path / "m.sdf"))}
    assert drawn == {number: Chem.CanonSmiles(each) for number, each in valid.items()}
    assert made[".csv"].left_out == 0
    assert made[".smi"].left_out == made[".sdf"].left_out == 30 - len(valid)
    assert generate(folder, 30, **QUIET).table["SMILES"].to_pylist() == smiles
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "m.parquet", "m.sdf", "m.smi"]


def test_unique_molecules_are_drawn_until_there_are_enough(folder):
    asked = {**QUIET, "max_heavy_atoms": 3}
    everything = generate(folder, 160, **asked).table["SMILES"].to_pylist()
    first = list(dict.fromkeys(each for each in everything if each))
    found = generate(folder, 25, unique=True, **asked)
    assert found.complete
    assert found.table["SMILES"].to_pylist() == first[:25]
    valid = generate(folder, 25, valid=True, **asked).table["SMILES"].to_pylist()
    assert valid == [each for each in everything if each][:25]
    assert len(set(valid)) < 25  # some are drawn twice


def test_a_limit_of_tries_ends_clearly_and_nothing_is_lost(folder, tmp_path):
    out = tmp_path / "few.smi"
    arguments = [str(folder), "--n", "50", "--unique", "--max-heavy-atoms", "1", "--tries", "40"]
    done = CliRunner().invoke(app, [*arguments, "--batch", "16", "--device", "cpu", "--out", str(out)])
    assert done.exit_code == 1
    kept = len(out.read_text().splitlines())
    assert 0 < kept < 50
    assert f"Only {kept} of 50 were found in 48 sequences" in done.output


def test_an_interrupted_generation_goes_on_to_the_same_file(folder, tmp_path, monkeypatch):
    """Every batch becomes a shard here, so that the second attempt begins in the middle."""
    asked = {"unique": True, "scaffold": "C1CCCCC1", "max_rings": 4, **QUIET}
    generate(folder, 60, out=tmp_path / "whole.csv", **asked)
    monkeypatch.setattr(table, "SECONDS", -1.0)
    calls = []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(*arguments, **options)

    decode = module.decode
    monkeypatch.setattr(module, "decode", interrupted)
    out = tmp_path / "cut.csv"
    with pytest.raises(KeyboardInterrupt):
        generate(folder, 60, out=out, **asked)
    assert not out.exists()
    monkeypatch.setattr(module, "decode", decode)
    with pytest.raises(ShardError, match="another request: seed"):
        generate(folder, 60, out=out, seed=1, **asked)
    found = generate(folder, 60, out=out, **asked)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert found.counts == generate(folder, 60, **asked).counts
    assert not (tmp_path / "cut.csv.parts").exists()


def test_decorated_molecules_contain_the_scaffold_and_the_share_is_told(folder):
    found = generate(folder, 60, scaffold="C1CC(*)CCN1", **QUIET)
    held = [value for value in found.table["contains_scaffold"].to_pylist() if value is not None]
    assert len(held) == found.counts.valid > 20
    assert sum(held) == found.counts.with_scaffold > 0.8 * len(held)
    assert any("contain C1CCNCC1" in line for line in found.summary())
    larger = [s for s in found.table["SMILES"].to_pylist() if s and Chem.MolFromSmiles(s).GetNumAtoms() > 6]
    assert len(set(larger)) > 5


def test_a_prompt_begins_every_molecule(folder):
    found = generate(folder, 20, prompt=["CN", "[O][C]"], **QUIET)
    texts = found.table["SELFIES"].to_pylist()
    assert sum(text.startswith("[C][N]") for text in texts) >= 8
    assert sum(text.startswith("[O][C]") for text in texts) >= 8
    assert sum(text.startswith(("[C][N]", "[O][C]")) for text in texts) == 20


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "m.txt"], r"\.csv, \.smi, \.parquet, \.sdf"),
        (["--prompt", "[Zz]"], r"\[Zz\] is not in the vocabulary"),
        (["--prompt", "CC", "--scaffold", "C1CC1"], "--prompt and --scaffold"),
        (["--prompt", "CCCCCCCC", "--max-length", "8"], "has 8 symbols already"),
        (["--min-length", "9", "--max-length", "9"], "must be below --max-length"),
        (["--max-rings", "-1"], "must not be negative"),
        (["--seed", "-1"], "--seed -1"),
        (["--temperature", "nan"], "--temperature nan"),
        (["--tries", "0", "--valid"], "--tries 0"),
        (["--forbid", "[C],[Br]"], r"\[Br\] is not in the vocabulary"),
    ],
)
def test_bad_input_is_refused_before_anything_is_drawn(folder, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [str(folder), "--n", "5", "--device", "cpu", *options])
    assert isinstance(done.exception, ValueError)
    with pytest.raises(ValueError, match=told):
        raise done.exception
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(folder, tmp_path):
    out = tmp_path / "mine.csv"
    out.write_text("precious")
    with pytest.raises(ValueError, match="exists"):
        generate(folder, 5, out=out, **QUIET)
    assert out.read_text() == "precious"


def test_a_generator_of_other_frameworks_goes_on_where_it_ended(folder):
    request = Request(n=1, batch=16)
    whole = MoleculeGenerator(folder, request, "cpu").generate(48)
    parts = MoleculeGenerator(folder, request, "cpu")
    assert parts.generate(3) + parts.generate(45) == whole
    assert whole == generate(folder, 48, **QUIET).table["SMILES"].to_pylist()
    unique = MoleculeGenerator(folder, Request(n=1, batch=16, unique=True), "cpu").generate(20)
    assert len(set(unique)) == 20
    assert "" not in unique
