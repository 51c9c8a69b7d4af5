"""Two ranks train a part of a potential, old frames among the new ones, as one does."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chemscale.points.run import train_point
from tests.helpers.points import potential_in
from tests.helpers.two_ranks import run_two_ranks

pytestmark = pytest.mark.slow
SHORT = ("budget.steps=6", "trainer.validate_every=3", "trainer.checkpoint_steps=null", "model.layers=2")


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    point = potential_in(tmp_path_factory.mktemp("parent"), *SHORT, "seed=1")
    train_point(point, [])
    return point.directory


@pytest.mark.parametrize(
    ("strategy", "keys"),
    [
        ("ddp", ("model.freeze=[embeddings,'layers:0']", "model.replay=0.3")),
        ("zero1", ("model.lora.rank=2",)),
    ],
)
def test_two_ranks_train_a_part_as_one_does(tmp_path, parent, strategy, keys):
    alone = potential_in(tmp_path, *SHORT, f"model.from={parent}", *keys)
    train_point(alone, [])
    folder = tmp_path / "two"
    folder.mkdir()
    steps, directory = run_two_ranks(
        folder, "tests.helpers.tuned_potential_rank", str(parent), strategy, *SHORT, *keys
    )
    assert steps == 6
    before = load_file(parent / "model" / "model.safetensors")
    one, two = (load_file(Path(d) / "model" / "model.safetensors") for d in (alone.directory, directory))
    assert one.keys() == two.keys() == before.keys()
    for name, value in before.items():
        assert torch.allclose(one[name], two[name], atol=1e-4), name
        if "freeze" in keys[0] and name.startswith(("network.embedding.", "network.layers.0.")):
            assert torch.equal(two[name], value)
    assert not torch.equal(two["network.layers.1.mix.weight"], before["network.layers.1.mix.weight"])
