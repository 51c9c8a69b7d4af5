"""Selections from files, by real runs: nothing that is known, whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from typer.testing import CliRunner

from chemscale.points.uncertainty.opening import open_uncertain
from chemscale.points.uncertainty.pool import recognised
from chemscale.points.uncertainty.selecting import select_frames
from chemscale.select import app
from chemscale.structures.blocks import SourceError
from chemscale.structures.calculator import ChemscaleCalculator
from chemscale.structures.sources import open_source
from tests.helpers.structures import METHANOL, WATER, toy_blocks


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames like the training's, 3 far from them (rows 40 to 42), and one twice (43)."""
    frames = [Atoms(b.numbers, p) for b in toy_blocks(20, seed=9) for p in b.positions]
    numbers, rest = WATER
    for stretch in (1.5, 1.6, 1.7):
        frames.append(Atoms(numbers, rest * stretch))
    frames.append(frames[0].copy())
    path = tmp_path_factory.mktemp("pool") / "pool.xyz"
    write(path, frames)
    return path


def rows(path: Path) -> list[int]:
    with open(f"{path}.rows.csv") as file:
        return [int(row["row"]) for row in csv.DictReader(file)]


def choose(seeds: Path, pool: Path, out: Path, method: str) -> list[int]:
    """Six rows by the command."""
    arguments = ["--model", str(seeds / "runs/seeds"), "--n", "6", "--method", method, "--out", str(out)]
    done = CliRunner().invoke(app, [str(pool), *arguments, "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "1 are copies" in done.stdout
    chosen = rows(out)
    assert len(set(chosen)) == 6
    frames = read(out, ":")
    assert [frame.info["row"] for frame in frames] == chosen
    assert np.allclose(frames[0].positions, read(pool, chosen[0]).positions)
    assert not list(out.parent.glob(".chosen*"))
    return chosen


def test_what_is_unlike_the_training_frames_is_chosen_as_farthest(seeds: Path, pool: Path, tmp_path: Path):
    assert choose(seeds, pool, tmp_path / "chosen.xyz", "farthest")[0] in (40, 41, 42)


def test_the_frame_that_a_committee_disagrees_on_most_is_chosen_first(
    seeds: Path, pool: Path, tmp_path: Path
):
    chosen = choose(seeds, pool, tmp_path / "chosen.xyz", "uncertain")
    calculator = ChemscaleCalculator(seeds / "runs/seeds", committee=True, device="cpu")
    worst = []
    for atoms in read(pool, ":43"):
        calculator.get_forces(atoms)
        worst.append(np.linalg.norm(calculator.results["forces_std"], axis=1).max())
    assert chosen[0] == np.argmax(worst)
    assert set(chosen) <= set(np.argsort(worst)[-30:].tolist())


def test_frames_that_were_trained_on_are_never_chosen(seeds: Path, tmp_path: Path):
    """The pool is the training file, written with fewer digits: what is left are its held-out frames."""
    frames = read(seeds / "frames.extxyz", ":")
    write(tmp_path / "pool.xyz", [Atoms(f.numbers, f.positions) for f in frames])
    run = next(p for p in (seeds / "runs/seeds").iterdir() if (p / "record.json").exists())
    found = select_frames(
        str(tmp_path / "pool.xyz"), run, 1000, tmp_path / "all.xyz", method="random", device="cpu"
    )
    known = open_uncertain(run, device="cpu").frames()
    trained = set(known.store.rows[known.training()].tolist())
    assert set(found.rows.tolist()) == set(range(40)) - trained
    assert f"{len(trained)} are among the frames that the model was trained on" in " ".join(found.notes)
    assert "were wanted" in " ".join(found.notes)
    write(tmp_path / "known.xyz", [Atoms(frames[row].numbers, frames[row].positions) for row in trained])
    with pytest.raises(SourceError, match="no frame is left"):
        select_frames(str(tmp_path / "known.xyz"), run, 1, tmp_path / "none.xyz", device="cpu")
    assert not (tmp_path / "none.xyz").exists()


def test_labels_of_the_pool_are_kept_for_training(seeds: Path, tmp_path: Path):
    frames = [
        Atoms(b.numbers, p, info={"REF_energy": e})
        for b in toy_blocks(4, seed=5)
        for p, e in zip(b.positions, b.energies, strict=True)
    ]
    write(tmp_path / "pool.extxyz", frames)
    found = select_frames(
        str(tmp_path / "pool.extxyz"), seeds / "runs/seeds", 3, tmp_path / "c.xyz", device="cpu"
    )
    written = open_source(tmp_path / "c.xyz")
    energies = {int(r): e for b in written.blocks() for r, e in zip(b.rows, b.energies, strict=True)}
    for order, row in enumerate(found.rows):
        assert energies[order] == pytest.approx(frames[row].info["REF_energy"])


def test_stresses_of_the_pool_are_kept_too(seeds: Path, tmp_path: Path):
    frames = []
    for number, positions in enumerate(toy_blocks(3, seed=5)[0].positions):
        found = Atoms(WATER[0], positions, cell=[9.0 + number, 9, 9], pbc=True)
        found.info |= {"REF_energy": -1.0, "REF_stress": np.array([number, 2, 3, 0.1, 0.2, 0.3])}
        frames.append(found)
    frames.append(Atoms(*METHANOL, info={"REF_energy": -1.0}))
    write(tmp_path / "pool.extxyz", frames)
    select_frames(str(tmp_path / "pool.extxyz"), seeds / "runs/seeds", 4, tmp_path / "c.xyz", device="cpu")
    written = {}
    for block in open_source(tmp_path / "c.xyz").blocks():
        assert (block.cells is None) == (block.stresses is None) == (len(block.numbers) > 3)
        if block.cells is None:
            continue
        for cell, stress in zip(block.cells, block.stresses, strict=True):
            written[round(cell[0, 0]) - 9] = stress
    assert len(written) == 3
    for number in range(3):
        expected = [[number, 0.3, 0.2], [0.3, 2, 0.1], [0.2, 0.1, 3]]
        assert written[number] == pytest.approx(np.array(expected))


def test_elements_that_the_model_does_not_know_are_left_out_and_counted(seeds: Path, tmp_path: Path):
    numbers, rest = METHANOL
    strange = np.where(numbers == 8, 16, numbers)
    write(tmp_path / "pool.xyz", [Atoms(numbers, rest), Atoms(strange, rest), Atoms(strange, rest + 1)])
    found = select_frames(
        str(tmp_path / "pool.xyz"),
        seeds / "runs/seeds",
        5,
        tmp_path / "c.xyz",
        method="farthest",
        device="cpu",
    )
    assert found.rows.tolist() == [0]
    assert any(note.startswith("2 left out: Elements Z = [16]") for note in found.notes)


@pytest.mark.parametrize("there", ["c.xyz", "c.xyz.rows.csv"])
def test_nothing_is_overwritten(there, seeds: Path, pool: Path, tmp_path: Path):
    (tmp_path / there).write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        select_frames(str(pool), seeds / "runs/seeds", 2, tmp_path / "c.xyz", device="cpu")
    assert (tmp_path / there).read_text() == "mine"


def test_an_unknown_method_and_a_pool_that_is_not_there_are_refused(seeds: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="choose one of farthest, uncertain, random"):
        select_frames("pool.xyz", seeds / "runs/seeds", 2, tmp_path / "c.xyz", method="best")
    with pytest.raises(FileNotFoundError, match="no such file"):
        select_frames(str(tmp_path / "absent.xyz"), seeds / "runs/seeds", 2, tmp_path / "c.xyz")


def test_a_geometry_is_recognised_when_digits_are_lost():
    """A coordinate on the edge of a grid cell moves over it; the other grid still knows the frame."""
    (block, _) = toy_blocks(50)
    block.positions = np.round(block.positions, 4) + 0.5e-4  # all on the edge of the first grid
    exact = recognised(block)
    block.positions = block.positions + 2e-9
    moved = recognised(block)
    shared = [bool(set(a) & set(b)) for a, b in zip(exact.tolist(), moved.tolist(), strict=True)]
    assert all(shared)
    block.positions = block.positions + 2e-4
    assert not any(set(a) & set(b) for a, b in zip(exact.tolist(), recognised(block).tolist(), strict=True))
