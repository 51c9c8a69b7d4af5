"""The plan verb: what it reads, what it prints, and that the sweep it writes is one that train runs."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from typer.testing import CliRunner

from chemscale.hardware.accelerators import ACCELERATORS, HardwareError, training_rate
from chemscale.laws import Additive
from chemscale.models.chemgpt import ChemGPTConfig
from chemscale.plan import app
from chemscale.planning.candidates import Family, PlanError, candidates
from chemscale.planning.inputs import read_budget
from chemscale.planning.law_file import read_law
from chemscale.planning.sweep_file import sweep_path
from chemscale.sweeps.expansion import expand
from chemscale.training.metrics.throughput import peak_flops
from tests.helpers.paths import ROOT
from tests.helpers.plans import TRUTH, write_law

CONF = ROOT / "conf"
GUESS = ["--law", "E=0.9,A=20,B=300,alpha=0.35,beta=0.4"]
SMALL = ["--budget", "1e13", "--layers", "2", "--heads", "4", "--set", "batch.tokens=512"]


def run(*arguments: str):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, ValueError), result.output
    return str(result.exception)


# --- what is counted ---


def test_flops_are_those_that_a_model_counts():
    family = Family(layers=3, heads=4, vocab=50, length=20)
    model = ChemGPTConfig(50, 32, 3, 4)
    assert family.flops(32, 1e6) == pytest.approx(3 * model.forward_flops(10**6, 20 * 10**6))
    n = family.counts(32)["matrices"]
    assert float(family.flops_of(n, 1e6)) == pytest.approx(family.flops(32, 1e6))


def test_head_and_attention_follow_from_the_flops_of_runs():
    truth = Family(layers=2, heads=4, vocab=40, length=50)
    n = np.array([truth.counts(w)["matrices"] for w in (16, 32, 64)], float)
    d = np.array([1e5, 2e5, 1e6])
    flops = np.array([truth.flops(w, t) for w, t in zip((16, 32, 64), d, strict=True)])
    found = Family(layers=2, heads=4).like_runs(n, d, flops)
    assert found.measured
    assert found.flops(48, 1e6) == pytest.approx(truth.flops(48, 1e6), rel=0.01)
    other = Family(layers=2, heads=4)
    assert other.like_runs(n * 1.1, d, flops) == other
    assert other.like_runs(n, d, 6 * n * d) == other


def test_memory_of_a_gpu_falls_by_stage_as_the_states_are_split():
    family = Family(layers=24, heads=16, precision="bf16-mixed", batch_tokens=4096)
    eight, many = family.memory_gib(2048, 8), family.memory_gib(2048, 64)
    count = 4 * family.counts(2048)["all"] / 2**30
    activations = family.memory_gib(2048, 1)["ddp"] - 4 * count
    assert 0 < activations < 20
    assert eight["ddp"] > eight["zero1"] >= eight["zero2"] > eight["fsdp2"]
    assert eight["zero1"] - many["zero1"] > 3 * count * (1 / 8 - 1 / 64)
    assert Family(accumulate=4).memory_gib(512, 4)["zero2"] < Family(accumulate=4).memory_gib(512, 4)["zero1"]


def test_candidates_keep_to_budget_heads_ratio_and_data():
    family = Family(layers=2, heads=4, batch_tokens=512)
    found = candidates(family, 1e13, ratio=(2, 50), max_tokens=3e6)
    assert (found.flops <= 1e13).all()
    assert (found.width % 4 == 0).all()
    ratio = found.inputs[:, 1] / found.inputs[:, 0]
    assert ((ratio >= 2) & (ratio <= 50) & (found.inputs[:, 1] <= 3e6)).all()
    with pytest.raises(PlanError, match="raise the budget"):
        candidates(family, 1e3)


def test_peaks_are_those_by_which_runs_measure_their_mfu():
    for name, known in ACCELERATORS.items():
        assert peak_flops(name.replace("-", " "), "16-mixed") == known.peak, name


def test_rates_are_measured_or_published_or_asked_for():
    assert training_rate("h100").flops == pytest.approx(0.40 * 989e12)
    assert training_rate("h100", measured=1e14).flops == 1e14
    assert training_rate("v100", mfu=0.3, precision="16-mixed").flops == pytest.approx(0.3 * 125e12)
    assert training_rate(None) is None
    with pytest.raises(HardwareError, match="h100, h100-nvl"):
        training_rate("h9000")
    with pytest.raises(HardwareError, match="no published rate"):
        training_rate("v100")
    with pytest.raises(HardwareError, match="--precision 32: no published rate"):
        training_rate("h100", precision="32")
    assert training_rate("h100", mfu=0.5, precision="32").flops == pytest.approx(0.5 * 67e12)


def test_small_points_are_said_to_take_longer_than_a_rate_of_large_models_promises():
    said = "times as long as shown"
    assert said in run(*GUESS, "--gpu-hours", 1, "--gpu", "h100").output
    measured = run(*GUESS, "--gpu-hours", 1, "--gpu", "h100", "--measured-flops", "1e13")
    assert said not in measured.output


def test_budgets_in_hours_and_euros_become_flops():
    rate = training_rate("h100", measured=1e14)
    assert read_budget(None, 10, None, None, rate)[0] == pytest.approx(3.6e18)
    assert read_budget(None, None, 50, 2.5, rate)[0] == pytest.approx(7.2e18)


# --- the command line ---


def test_a_guess_and_a_budget_give_points_with_intervals_and_what_they_tell():
    result = run(*GUESS, "--gpu-hours", 1, "--gpu", "h100", "--gpus", 4, "--euros-per-gpu-hour", 2.5)
    assert result.exit_code == 0, result.output
    for words in (
        "95 % of runs",
        "GiB zero3",
        "€",
        "narrower",
        "Rate: 3.96e+14",
        "(6ND): N* = ",
        "kWh",
        "E 30%"[:1],
    ):
        assert words in result.output
    assert "one standard deviation taken as 0.1" in result.output
    assert "1.42e+18 FLOP" in result.output


@pytest.mark.parametrize("goal", ["loss", "exponent", "allocation"])
def test_each_goal_spends_within_the_budget(goal, tmp_path):
    law = write_law(tmp_path / "law.json", Family(layers=2, heads=4, vocab=40))
    result = run(law, *SMALL, "--goal", goal, "--points", 4)
    assert result.exit_code == 0, result.output
    spent = float(result.output.split(" points: ")[1].split(" FLOP")[0])
    assert 0 < spent <= 1e13
    assert "narrower" in result.output
    assert "15 runs" in result.output
    assert "from the runs' FLOPs" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give a law.json, or a guess"),
        (["--law", "E=1,A=2", "--budget", "1e15"], "each of E=…"),
        (["--law", "E=1,A=2,B=x,alpha=0.3,beta=0.3", "--budget", "1e15"], "'x' is not a number"),
        (GUESS, "one budget"),
        ([*GUESS, "--budget", "1e15", "--gpu-hours", "3"], "--budget and --gpu-hours"),
        ([*GUESS, "--budget", "-3"], "above 0"),
        ([*GUESS, "--gpu-hours", "3"], "needs a rate"),
        ([*GUESS, "--euros", "3", "--gpu", "h100"], "--euros-per-gpu-hour"),
        ([*GUESS, "--budget", "1e15", "--gpu", "abacus"], "which has gb200, b200, gh200, h200"),
        ([*GUESS, "--budget", "1e15", "--goal", "fame"], "loss, exponent or allocation"),
        ([*GUESS, "--budget", "1e15", "--target", "X=3"], "C=1e20"),
        ([*GUESS, "--budget", "1e15", "--ratio", "9:2"], "least comes first"),
        ([*GUESS, "--budget", "1e15", "--set", "data"], "key=value"),
        ([*GUESS, "--budget", "1e15", "--set", "trainer.precision=8"], "bf16-mixed"),
        (["nowhere/law.json", "--budget", "1e15"], "no such file"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_words(arguments, words):
    assert words in refused(*arguments)


def test_laws_that_do_not_serve_are_refused_in_words(tmp_path):
    family = Family(layers=2, heads=4)
    law = write_law(tmp_path / "a.json", family, form="power")
    assert "the form is 'power'" in refused(law, *SMALL)
    law = write_law(tmp_path / "b.json", family, data={"points": []})
    assert "no runs" in refused(law, *SMALL)
    law = write_law(tmp_path / "c.json", family, axes={"N": "parameters", "D": "frames"})
    assert "parameters and frames" in refused(law, *SMALL)
    unknown = dict.fromkeys(("E", "B", "alpha", "beta"), 1.0) | {"A": None}
    law = write_law(tmp_path / "e.json", family, parameters=unknown)
    assert "do not determine A" in refused(law, *SMALL)
    (tmp_path / "d.json").write_text("[")
    assert "not a law.json" in refused(tmp_path / "d.json", *SMALL)


def test_the_knowledge_that_a_fit_kept_is_used_as_it_is(tmp_path):
    plain = read_law(write_law(tmp_path / "a.json", Family(layers=2, heads=4)))
    known = {
        "surface": "additive",
        "phi": plain.law.phi.tolist(),
        "covariance": (4 * plain.law.covariance).tolist(),
        "noise": 0.006,
        "freedom": 10,
    }
    kept = read_law(write_law(tmp_path / "b.json", Family(layers=2, heads=4), known=known))
    one, two = (law.spread(lambda phi: phi)[1] for law in (plain.law, kept.law))
    np.testing.assert_allclose(two, 2 * one)
    assert (kept.law.noise, kept.law.freedom) == (0.006, 10)


# --- the sweep file ---


def test_the_written_sweep_composes_and_holds_the_points(tmp_path):
    law = write_law(tmp_path / "law.json", Family(layers=2, heads=4, vocab=40))
    setting = [
        "--set",
        "data=smiles",
        "--set",
        "data.path=a folder/my, molecules.smi",
        "--set",
        "optimizer.lr=1e-3",
    ]
    result = run(law, *SMALL, *setting, "--points", 4, "--out", tmp_path / "plans")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plans" / "sweep" / "planned.yaml").exists()
    assert f"--config-dir {tmp_path / 'plans'} +sweep=planned" in result.output
    with initialize_config_dir(str(CONF), version_base=None):
        search = f"hydra.searchpath=[{tmp_path / 'plans'}]"
        config = compose("train", ["+sweep=planned", search], return_hydra_config=True)
    assert config.data.source == "smiles"
    assert config.data.path == "a folder/my, molecules.smi"
    assert config.optimizer.lr == 1e-3
    assert (config.model.layers, config.model.heads, config.batch.tokens) == (2, 4, 512)
    assert config.sweep_name == "planned"
    assert config.budget.epochs is None
    points = OmegaConf.to_container(config.hydra.sweeper.points)
    overrides = expand([], {}, points)
    assert 1 <= len(overrides) <= 4
    assert len({tuple(o) for o in overrides}) == len(overrides)
    for point in points:
        assert point["model.width"] % 4 == 0
        assert point["budget.tokens"] >= 100 * 512


def test_a_plan_overwrites_nothing(tmp_path):
    assert run(*GUESS, *SMALL, "--out", tmp_path / "next.yaml").exit_code == 0
    written = (tmp_path / "sweep" / "next.yaml").read_text()
    assert "overwrites nothing" in refused(*GUESS, *SMALL, "--points", 2, "--out", tmp_path / "next.yaml")
    assert (tmp_path / "sweep" / "next.yaml").read_text() == written
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["next.yaml"]


def test_sweeps_stand_where_hydra_finds_them(tmp_path):
    for out in ("x", "x/sweep", "x/a.yaml", "x/sweep/a.yaml"):
        path, name = sweep_path(tmp_path / out, "a")
        assert (path, name) == (tmp_path / "x" / "sweep" / "a.yaml", "a")


def test_a_point_that_was_run_before_gets_another_seed(tmp_path):
    family = Family(layers=2, heads=4, vocab=40, batch_tokens=512)
    allowed = candidates(family, 1e13, ratio=(1, 1000))
    rows = [
        {
            "parameters": n,
            "tokens": t,
            "flops": f,
            "nats_per_token": float(Additive().value(TRUTH, n, t)),
            "seed": 3,
        }
        for (n, t), f in zip(allowed.inputs, allowed.flops, strict=True)
    ]
    for number, row in enumerate(rows):
        row["nats_per_token"] *= 1 + 0.003 * (-1) ** number
    law = write_law(tmp_path / "law.json", family, data={"points": rows})
    assert run(law, *SMALL, "--vocab", 40, "--out", tmp_path).exit_code == 0
    config = OmegaConf.load(tmp_path / "sweep" / "planned.yaml")
    assert {point["seed"] for point in config.hydra.sweeper.points} >= {4}
    assert min(point["seed"] for point in config.hydra.sweeper.points) == 4


def test_a_law_without_a_floor_is_reported(tmp_path):
    family = Family(layers=2, heads=4)
    parameters = {"E": 1e-16, "A": 20.0, "B": 300.0, "alpha": 0.35, "beta": 0.4}
    known = {
        "surface": "additive",
        "phi": [3.0, 5.7, -36.8, 0.35, 0.4],
        "covariance": (np.eye(5) * 1e-4).tolist(),
    }
    known |= {"noise": 0.01, "freedom": 10}
    law = write_law(tmp_path / "law.json", family, parameters=parameters, known=known)
    result = run(law, *SMALL)
    assert "E = 0 [0, unknown]" in result.output
    assert "show no floor" in result.output
