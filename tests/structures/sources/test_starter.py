"""The starter structures: real labels of a quantum method, the same each time, consistent with each other."""

import numpy as np
import pytest

from chemscale.structures.blocks import SourceError
from chemscale.structures.sources.starter import (
    MOLECULES,
    StarterFrames,
    frames_of_molecule,
    write_starter,
    xtb,
)


def test_forces_are_minus_the_gradient_of_the_energy():
    frames = frames_of_molecule(("CO", 1, 0, "GFN2-xTB"))
    numbers, positions = frames["numbers"], frames["positions"][0]
    direction = np.random.default_rng(0).normal(size=positions.shape)
    ahead, back = (xtb(numbers, positions + sign * 1e-3 * direction)[0] for sign in (1, -1))
    work = -(frames["forces"][0] * direction).sum()
    assert (ahead - back) / 2e-3 == pytest.approx(work, rel=1e-4)


def test_frames_move_like_a_molecule_at_five_hundred_kelvin():
    frames = frames_of_molecule(("CCO", 12, 1, "GFN2-xTB"))
    lengths = np.linalg.norm(frames["positions"][:, 0] - frames["positions"][:, 1], axis=1)
    assert 1.35 < lengths.mean() < 1.65
    assert 0.005 < lengths.std() < 0.2
    assert 0.5 < np.sqrt(np.square(frames["forces"]).mean()) < 3.0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_frames_and_each_molecule_its_share(tmp_path):
    count = len(MOLECULES) + 5
    for name in ("a", "b"):
        write_starter(tmp_path / f"{name}.npz", count, workers=1)
    first, second = (list(StarterFrames(tmp_path / f"{n}.npz").blocks()) for n in "ab")
    assert [len(b) for b in first] == [2] * 5 + [1] * (len(MOLECULES) - 5)
    assert [b.name for b in first] == list(MOLECULES)
    for x, y in zip(first, second, strict=True):
        np.testing.assert_array_equal(x.positions, y.positions)
        np.testing.assert_array_equal(x.forces, y.forces)
    assert np.concatenate([b.rows for b in first]).tolist() == list(range(count))


def test_too_few_frames_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"data\.count=3: at least 48"):
        write_starter(tmp_path / "x.npz", 3)
