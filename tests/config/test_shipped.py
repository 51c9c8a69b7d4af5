"""Every configuration that is shipped composes into something that can be built."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from chemscale.common.sections import read_section
from chemscale.config.options import option
from chemscale.models.potentials import CONFIGS, build, parameter_counts, read_config
from chemscale.points.build import choose_budget
from chemscale.points.parents.settings import PotentialTransfer
from chemscale.points.sections import read_schedule
from chemscale.structures.batches import BatchBudget
from chemscale.tasks.losses import EnergyForceLoss
from chemscale.tasks.optimisation import AdamW
from chemscale.training.budget import Budget
from tests.helpers.paths import ROOT

CONF = ROOT / "conf"


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("train", [*overrides, "structures=x"], return_hydra_config=True)
    plain = OmegaConf.to_container(config, resolve=False)
    plain["axes"] = plain.pop("hydra")["sweeper"].get("axes") or {}
    return plain


def shape_of(model: dict) -> dict:
    return {key: value for key, value in model.items() if key not in PotentialTransfer.names()}


def check_potential(config: dict) -> None:
    read_config(shape_of(config["model"]))
    read_section(EnergyForceLoss, config["loss"], "loss")
    assert {"accumulate", "per_gpu"} <= set(config["batch"])
    limits = {key: value for key, value in config["batch"].items() if key not in ("accumulate", "per_gpu")}
    read_section(BatchBudget, limits, "batch")
    read_section(AdamW, config["optimizer"], "optimizer")
    read_schedule(config["schedule"])
    Budget.from_mapping(config["budget"])
    assert 0 < config["ema"] < 1


@pytest.mark.parametrize("sweep", names("sweep"))
def test_sweeps_compose_and_sweep_keys_that_exist(sweep):
    config = composed(f"+sweep={sweep}")
    for key in config["axes"]:
        group, _, name = key.partition(".")
        assert name in config[group]
    Budget.from_mapping(config["budget"])
    if config["model"]["family"] in CONFIGS:
        check_potential(config)


@pytest.mark.parametrize("recipe", names("recipe"))
def test_recipes_compose(recipe):
    config = composed(f"+recipe={recipe}", "data.path=x.npz")
    if config["model"]["family"] == "chemgpt":
        Budget.from_mapping(choose_budget(config["budget"], [f"+recipe={recipe}"]))
        read_section(AdamW, config["optimizer"], "optimizer")
        read_schedule(config["schedule"])
        return  # tests/points/test_placement.py places it
    check_potential(config)
    assert config["data"]["split"] == 1


@pytest.mark.parametrize(
    "model",
    [name for name in names("model") if option("model", name).can_be_chosen and "chemgpt" not in name],
)
def test_models_compose_and_the_command_line_wins(model):
    config = composed("task=potential", f"model={model}", "model.width=4", "model.layers=1")
    check_potential(config)
    assert config["model"]["width"] == 4


@pytest.mark.parametrize(
    ("model", "millions"),
    [("painn_rmd17", 0.56), ("schnet_rmd17", 0.42)],
)
def test_published_shapes_have_about_the_published_number_of_parameters(model, millions):
    config = composed("task=potential", f"model={model}")["model"]
    counts = parameter_counts(build(read_config(shape_of(config)), (1, 6, 8)))
    assert counts["non_embedding"] == pytest.approx(1e6 * millions, rel=0.03)


@pytest.mark.parametrize(
    ("override", "keys"),
    [
        ("logger=none", set()),
        ("logger=jsonl", set()),
        ("logger=trackio", {"trackio"}),
        ("logger=[wandb,tensorboard]", {"wandb", "tensorboard"}),
    ],
)
def test_one_logger_or_several_are_chosen(override, keys):
    assert set(composed(override).get("logger") or {}) == keys
