"""Several ranks train a part of a model as one does, and go on after a stop to the bit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chemscale.points.run import train_point
from tests.helpers.points import point_in
from tests.helpers.sickness import losses
from tests.helpers.two_ranks import run_two_ranks

pytestmark = pytest.mark.slow
SHORT = ("budget.steps=6", "trainer.validate_every=3", "batch.tokens=1024", "model.layers=2")


@pytest.fixture(scope="module")
def parent(tmp_path_factory, smiles_file):
    point = point_in(tmp_path_factory.mktemp("parent"), smiles_file, *SHORT, "seed=1")
    train_point(point, [])
    return point.directory


@pytest.mark.parametrize(
    ("strategy", "keys", "stops"),
    [
        ("ddp", ("model.lora.rank=2",), ()),
        ("zero1", ("model.freeze=[embeddings,'blocks:0']",), (3,)),
    ],
)
def test_two_ranks_train_a_part_as_one_does(tmp_path, smiles_file, parent, strategy, keys, stops):
    alone = point_in(tmp_path / "alone", smiles_file, *SHORT, f"model.from={parent}", *keys)
    train_point(alone, [])
    ends = {}
    for name, sequence in {"whole": (-1,), "stopped": (*stops, -1)}.items():
        if name == "stopped" and not stops:
            continue
        folder = tmp_path / name
        folder.mkdir()
        given = (str(smiles_file), str(parent), strategy)
        for stop in sequence:
            ends[name] = run_two_ranks(folder, "tests.helpers.tuned_rank", *given, str(stop), *keys)
    steps, rows, directory = ends["whole"]
    assert steps == 6
    if stops:
        assert ends["stopped"][1] == rows
    ours = {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}
    theirs = {step: row["loss"] for step, row in losses(alone.directory).items()}
    assert ours == pytest.approx(theirs, rel=1e-5)
    weights = [load_file(Path(d) / "model" / "model.safetensors") for d in (directory, alone.directory)]
    before = load_file(parent / "model" / "model.safetensors")
    assert weights[0].keys() == weights[1].keys() == before.keys()
    for name, value in before.items():
        assert torch.allclose(weights[0][name], weights[1][name], atol=1e-4)
        frozen = "freeze" in keys[0] and name.startswith(("transformer.w", "transformer.h.0."))
        assert torch.equal(weights[0][name], value) if frozen else True
