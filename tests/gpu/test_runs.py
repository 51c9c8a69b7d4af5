"""A run on a device: equal when repeated or resumed, saved in the background, no larger than planned."""

import pytest
import torch
from pytorch_lightning import Callback

from chemscale.points.run import fit, open_record
from tests.helpers.devices import FAMILIES, language_point, potential_point, record_of, trained
from tests.helpers.runs import assert_same_run, rows

pytestmark = pytest.mark.slow

PRECISIONS = {"cpu": ("32",), "cuda": ("32", "tf32", "bf16-mixed", "16-mixed")}
POTENTIALS = tuple(name for name in FAMILIES if "-" not in name)


def precisions(device):
    return PRECISIONS[device]


def test_a_language_model_that_paused_and_went_on_equals_one_that_never_did(tmp_path, smiles_file, device):
    for precision in precisions(device):
        more = (f"precision={precision}", "batch.accumulate=2")
        whole = trained(language_point(tmp_path / precision / "whole", smiles_file, device, *more))
        trained(language_point(tmp_path / precision / "cut", smiles_file, device, *more, "pause=0.5"))
        cut = trained(language_point(tmp_path / precision / "cut", smiles_file, device, *more))
        assert record_of(cut).attempts == 2
        assert_same_run(whole, cut)


@pytest.mark.parametrize("family", POTENTIALS)
def test_a_potential_that_paused_and_went_on_equals_one_that_never_did(tmp_path, device, family):
    whole = trained(potential_point(tmp_path / "whole", family, device))
    trained(potential_point(tmp_path / "cut", family, device, "pause=0.5"))
    cut = trained(potential_point(tmp_path / "cut", family, device))
    assert record_of(cut).attempts == 2
    assert_same_run(whole, cut)


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["chemgpt", "painn"])
def test_a_compiled_run_that_paused_and_went_on_equals_one_that_never_did(tmp_path, smiles_file, cuda, model):
    language = model == "chemgpt"
    make, given = (language_point, smiles_file) if language else (potential_point, model)
    more = ("trainer.compile=true", f"precision={'bf16-mixed' if language else '32'}")
    whole = trained(make(tmp_path / "whole", given, cuda, *more))
    trained(make(tmp_path / "cut", given, cuda, *more, "pause=0.5"))
    cut = trained(make(tmp_path / "cut", given, cuda, *more))
    assert_same_run(whole, cut)
    eager = trained(make(tmp_path / "eager", given, cuda, *more[1:], "trainer.compile=false"))
    pairs = zip(rows(whole), rows(eager), strict=True)
    losses = [(a["loss"], b["loss"]) for a, b in pairs if a["kind"] == "train"]
    assert losses[-1][0] == pytest.approx(losses[-1][1], rel=1e-2)


def test_two_runs_of_one_configuration_are_equal_to_the_bit(tmp_path, smiles_file, device):
    for precision in precisions(device):
        folder, how = tmp_path / precision, f"precision={precision}"
        one, two = (
            trained(language_point(folder / name, smiles_file, device, how)) for name in ("one", "two")
        )
        assert_same_run(one, two)


def test_a_checkpoint_in_the_background_holds_what_one_in_the_foreground_does(tmp_path, smiles_file, device):
    saved = {}
    for background in (True, False):
        how = f"trainer.checkpoint_background={str(background).lower()}"
        directory = trained(language_point(tmp_path / str(background), smiles_file, device, how))
        record = record_of(directory)
        saved[background] = torch.load(directory / record.checkpoint, weights_only=True, map_location="cpu")
        saved[background]["rows"] = rows(directory)
    assert saved[True]["rows"] == saved[False]["rows"]
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_equal(saved[True][key], saved[False][key])


def assert_equal(one, two):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    else:
        assert one == two


class Impatient(Callback):
    """Makes every wait for the device an error, between the first step and the last."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        between = 0 < batch_idx < trainer.max_steps - 1
        torch.cuda.set_sync_debug_mode("error" if between else "default")


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["chemgpt", *POTENTIALS])
def test_no_step_between_two_logs_waits_for_the_gpu(tmp_path, smiles_file, cuda, model):
    quiet = ("trainer.log_every=1000", "trainer.validate_every=1000", "trainer.checkpoint_steps=null")
    make = language_point if model == "chemgpt" else potential_point
    point = make(tmp_path, smiles_file if model == "chemgpt" else model, cuda, *quiet)
    try:
        fit(point, open_record(point, []), extra=[Impatient()])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_language_model_takes_about_the_memory_that_was_planned(
    tmp_path, smiles_file, cuda, precision, recompute
):
    large = ("model.width=512", "model.layers=8", "model.heads=8", "batch.tokens=16384")
    more = (f"precision={precision}", f"trainer.checkpoint_activations={str(recompute).lower()}")
    assert_about_planned(language_point(tmp_path, smiles_file, cuda, *large, *more))


@pytest.mark.gpu
@pytest.mark.parametrize("family", POTENTIALS)
def test_a_potential_takes_about_the_memory_that_was_planned(tmp_path, cuda, family):
    assert_about_planned(potential_point(tmp_path, family, cuda, "model.width=64", "batch.frames=32"))


def assert_about_planned(point):
    """The plan is what one decides by: never far below what is taken, and not twice as much."""
    planned = point.memory().total
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trained(point)
    taken = torch.cuda.max_memory_allocated()
    assert 0.5 * planned < taken < 1.1 * planned, f"{taken / 2**20:.0f} MiB of {planned / 2**20:.0f} planned"
