"""Works, and who does them."""

import dataclasses
import sys
from pathlib import Path

import pytest

from chemscale.benchmarking.inputs import Inputs
from chemscale.benchmarking.participants import (
    OURS,
    PEERS,
    Checkout,
    Setting,
    check_peer,
    participants,
    this_checkout,
)
from chemscale.benchmarking.works import WORKS, chosen_works, described
from tests.helpers.launch import config

SETTING = Setting("cpu", 1, "32", 2560, ("eager", "compiled"))
INPUTS = Inputs(Path("/made/molecules.smi"), Path("/made/symbols.json"), Path("/made/structures.xyz"), 50, {})


def workers(name, *, peers=(), checkouts=None, setting=SETTING):
    found = {peer: f"/venvs/{peer}/python" for peer in peers}
    return participants(WORKS[name], setting, INPUTS, checkouts or [this_checkout()], found)


@pytest.mark.parametrize("name", [name for name, work in WORKS.items() if work.kind == "training"])
def test_what_ours_is_told_is_a_configuration(name):
    for worker in workers(name):
        found = config(*worker.work["overrides"])
        shape = {key: found["model"][key] for key in WORKS[name].model}
        assert shape == WORKS[name].model
        assert found["trainer"]["threads"] == 1
        assert found["trainer"]["compile"] is ("compiled" in worker.name)
        assert worker.work["count"] is ("eager" in worker.name)


def test_each_code_takes_part_where_it_has_the_model():
    everyone = tuple(PEERS)
    names = {name: [w.name for w in workers(name, peers=everyone)] for name in WORKS}
    ours = ["chemscale, eager", "chemscale, compiled"]
    assert names["painn"] == [*ours, "schnetpack"]
    assert names["nequip-l2"] == [*ours, "nequip, eager", "nequip, compiled"]
    assert names["allegro-l2"] == [*ours, "allegro, eager", "allegro, compiled"]
    assert names["mace-forces"] == ["chemscale", "mace, eager"]
    assert names["chemgpt-4.7m"] == [*ours, "transformers"]
    assert names["spookynet"] == ours
    assert names["sweep"] == ["chemscale"]


def test_a_code_runs_in_its_interpreter_and_ours_in_this_one():
    mine, _, theirs = workers("painn", peers=["schnetpack"])
    assert (mine.python, mine.path) == (sys.executable, this_checkout().root)
    assert (theirs.python, theirs.path) == ("/venvs/schnetpack/python", None)


def test_both_parities_of_a_tensor_are_the_same_choice_for_everyone():
    for name in ("allegro-l1", "allegro-l2", "nequip-l1", "nequip-l2"):
        mine, _, theirs, _ = workers(name, peers=[WORKS[name].model["family"]])
        assert f"model.parity={str(theirs.work['model']['parity']).lower()}" in mine.work["overrides"]


def test_a_revision_that_knows_no_compiling_is_not_told_of_it(tmp_path):
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "default.yaml").write_text("clip: 1.0\n")
    old = Checkout.at(tmp_path, "chemscale 1234abcd")
    found = workers("painn", checkouts=[this_checkout(), old])
    assert [worker.name for worker in found] == [
        "chemscale, eager",
        "chemscale, compiled",
        "chemscale 1234abcd",
    ]
    assert not any("compile" in text for text in found[-1].work["overrides"])
    assert found[-1].path == tmp_path


def test_transformers_is_padded_to_512_where_that_is_asked_for():
    padded = dataclasses.replace(SETTING, padded=True, modes=("eager",))
    found = workers("chemgpt-4.7m", peers=["transformers"], setting=padded)
    assert [(w.work["rows"], w.work["pad_to"]) for w in found[1:]] == [(64, None), (16, 512)]


def test_works_are_chosen_by_name_or_by_device():
    assert [work.name for work in chosen_works("mace,painn-forces", "cpu")] == ["mace", "painn-forces"]
    on = {device: {work.name for work in chosen_works(None, device)} for device in ("cpu", "cuda")}
    assert on["cuda"] - on["cpu"] == {"chemgpt-19m", "chemgpt-350m", "chemgpt-1.2b"}
    with pytest.raises(ValueError, match="--work pain: choose from chemgpt"):
        chosen_works("pain", "cpu")
    assert [line.split()[0] for line in described()] == list(WORKS)


def test_an_interpreter_without_the_code_is_refused():
    with pytest.raises(ValueError, match=r"--peer mace=.*No module named 'mace'"):
        check_peer("mace", sys.executable)
    with pytest.raises(ValueError, match="--peer orb=…: choose from schnetpack"):
        check_peer("orb", sys.executable)
    with pytest.raises(ValueError, match="No such file"):
        check_peer("mace", "/no/python")


def test_ours_has_one_name():
    assert this_checkout().name == OURS
