"""Placing points: the micro-batch that fits, what is refused in words, and ChemGPT-1.2B and 10B on paper."""

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from typer.testing import CliRunner

from chemscale.hardware.accelerators import HardwareError
from chemscale.hardware.memory import GIB
from chemscale.plan import app
from chemscale.planning.single_model import fastest, place, read_model, usable
from chemscale.points.base import ConfigurationError
from chemscale.points.build import read_point
from chemscale.points.cost import estimate
from chemscale.points.estimates.advice import describe_precision, describe_times
from chemscale.points.estimates.tables import show_plan
from chemscale.tasks.device_values import read_rows
from tests.helpers.paths import ROOT

CONF = ROOT / "conf"
NODE = ["launcher=slurm", "launcher.gpus_per_node=8", "trainer.accelerator=cuda"]


@pytest.fixture
def read(tmp_path, smiles_file, tmp_path_factory):
    """Read a point of a few overrides on a small corpus."""
    folders = tmp_path_factory.getbasetemp()

    def reads(*overrides: str):
        arguments = [
            f"data.path={smiles_file}", "data.validation_fraction=0.1", "data.prepare_workers=1",
            "logger=jsonl", f"corpora={folders / 'placed'}", f"runs={tmp_path / 'runs'}", *overrides,
        ]  # fmt: skip
        if not any(o.startswith("+recipe") for o in overrides):
            arguments.insert(0, "data=smiles")
        with initialize_config_dir(str(CONF), version_base=None):
            return read_point(compose("train", arguments), arguments)

    return reads


@pytest.mark.parametrize(("gpu", "gib"), [("a100-40gb", 40), ("a100", 80), ("h100", 80)])
def test_chemgpt_1_2b_fits_eight_gpus_of_40_and_of_80_gb(read, gpu, gib):
    point = read("+recipe=chemgpt_1.2b", "launcher=slurm", f"launcher.gpu={gpu}")
    assert point.parameter_counts()["matrices"] == 12 * 24 * 2048**2
    rest = point.model.vocab_size * 2048 + 2048 * 2048 + 2 * 2048  # both embeddings, the last norm
    assert point.parameter_counts()["all"] == 24 * (12 * 2048**2 + 10 * 2048) + rest
    memory, room = point.memory(), point.placement.device_memory()
    assert room.holds(memory)
    assert memory.total < 0.85 * gib * GIB
    batch = point.config["batch"]
    assert point.micro_batch * batch["accumulate"] * 8 == batch["tokens"]


def test_a_larger_step_is_cut_into_as_few_micro_batches_as_fit(read):
    wanted = [*NODE, "model=chemgpt_1.2b", "strategy=zero1", "precision=bf16-mixed", "batch.per_gpu=auto"]
    small = read(*wanted, "launcher.gpu=a100-40gb", "batch.tokens=524288")
    large = read(*wanted, "launcher.gpu=a100", "batch.tokens=524288")
    assert large.config["batch"]["accumulate"] < small.config["batch"]["accumulate"]
    for point in (small, large):
        room, cut = point.placement.device_memory(), point.config["batch"]["accumulate"]
        assert room.holds(point.memory())
        assert 65536 % cut == 0
    assert small.identity == large.identity  # how a step is cut is no part of what a point is


def test_activations_are_recomputed_only_where_nothing_fits_without(read):
    wanted = [*NODE, "model=chemgpt_1.2b", "strategy=ddp", "precision=bf16-mixed", "batch.tokens=65536"]
    wanted += ["trainer.checkpoint_activations=auto", "batch.per_gpu=8192"]
    tight = read(*wanted, "launcher.gpu=a100-40gb", "model.layers=22")
    roomy = read(*wanted, "launcher.gpu=a100")
    assert tight.config["trainer"]["checkpoint_activations"] is True
    assert roomy.config["trainer"]["checkpoint_activations"] is False


def test_what_fits_nowhere_here_says_what_would(read):
    wanted = [*NODE, "model=chemgpt_10b", "precision=bf16-mixed", "batch.tokens=524288", "batch.per_gpu=auto"]
    wanted += ["trainer.checkpoint_activations=auto", "launcher.gpu=a100-40gb"]
    with pytest.raises(ConfigurationError, match=r"needs 205\.. GiB.*strategy=fsdp2 on 16 ranks"):
        read(*wanted, "strategy=ddp")
    with pytest.raises(ConfigurationError, match=r"launcher\.gpu=a100-40gb"):
        read(*wanted[:-1], "launcher.gpu=null", "strategy=zero1")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("batch.per_gpu=100", "less than one block, data.block=512"),
        ("batch.per_gpu=many", "give a whole number, auto or null"),
        ("trainer.checkpoint_activations=often", "give true, false or auto"),
    ],
)
def test_wrong_settings_are_refused_in_words(read, override, words):
    with pytest.raises(ConfigurationError, match=words):
        read(override)


def test_a_number_a_gpu_becomes_the_next_divisor(read):
    point = read("batch.per_gpu=1500", "batch.tokens=6144", "model.width=16", "trainer.accelerator=cpu")
    assert point.config["batch"]["accumulate"] == 6  # of 12 blocks: two at a time, three do not fit into 1500
    assert point.micro_batch == 1024
    auto = read("batch.per_gpu=auto", "batch.tokens=6144", "model.width=16", "trainer.accelerator=cpu")
    assert auto.config["batch"]["accumulate"] == 1
    assert auto.identity == point.identity


@pytest.mark.slow
def test_the_plan_shows_each_strategy_and_no_time_that_nobody_knows(read, capsys):
    wanted = [*NODE, "model=chemgpt_1.2b", "strategy=zero1", "precision=bf16-mixed", "batch.tokens=65536"]
    for gpu, words in (("a100-40gb", "of training in jobs"), ("null", "Times are unknown")):
        point = read(*wanted, f"launcher.gpu={gpu}")
        show_plan([point], [estimate(point)])
        shown = " ".join(capsys.readouterr().err.split())
        assert words in shown
        for column in ("ddp", "zero1", "zero2", "zero3", "fsdp2", "activations", "8,192 × 1"):
            assert column in shown
        assert ("unknown" in shown) == (gpu == "null")


def test_points_that_share_a_gpu_are_planned_into_their_part_of_it(read):
    whole, quarter = (
        read("launcher=slurm", "launcher.gpu=a100", f"launcher.per_gpu={k}").placement.device_memory()
        for k in (1, 4)
    )
    assert quarter.size == whole.size / 4
    assert quarter.name == "a100 / 4 points"


def test_float32_on_a_gpu_keeps_the_probabilities_of_heads_without_a_kernel(read):
    wanted = ["launcher=slurm", "launcher.gpu=h100", "model.width=32", "model.heads=16"]
    plain, half = (read(*wanted, f"precision={p}").memory().activations for p in ("32", "bf16-mixed"))
    assert plain > 1.5 * half
    other = read(*wanted[:3], "model.heads=8", "precision=32").memory().activations
    assert plain > 1.5 * other


def test_times_of_jobs_are_estimates_that_grow_with_sharing_and_say_so(read):
    wanted = ["launcher=slurm", "launcher.gpu=h100", "model.width=64", "precision=bf16-mixed"]
    alone, shared = (read(*wanted, f"launcher.per_gpu={k}") for k in (1, 4))
    seconds = [estimate(point).seconds for point in (alone, shared)]
    assert alone.steps * 4.5e-3 < seconds[0] <= seconds[1] < 4 * seconds[0]
    (line,) = describe_times([alone])
    assert "h100 are estimates" in line
    assert describe_times([read("launcher=slurm")]) == []


def test_who_leaves_float32_on_a_gpu_is_told_what_it_costs(read):
    point = read("launcher=slurm", "launcher.gpu=h100")
    (line,) = describe_precision([point], ["launcher=slurm"])
    assert "67 TFLOP/s, 989 with bf16-mixed" in line
    assert describe_precision([point], ["precision=32"]) == []
    assert describe_precision([read("launcher=slurm", "trainer.accelerator=cpu")], []) == []
    old = [read("launcher=slurm", "launcher.gpu=v100", "precision=bf16-mixed")]
    assert "16-mixed" in describe_precision(old, ["precision=bf16-mixed"])[0]
    assert describe_precision([read("launcher=slurm", "precision=bf16-mixed")], []) == []


# --- on paper ---


def test_a_model_of_ten_billion_is_placed_by_the_same_code():
    model = read_model("chemgpt_10b", ["batch.tokens=524288"], 100, 32.0, "bf16-mixed")
    assert model.counts["matrices"] == pytest.approx(1e10, rel=0.01)
    assert not place(model, "ddp", 64, usable("a100")).fits
    sharded = place(model, "fsdp2", 64, usable("a100"))
    assert sharded.fits
    assert sharded.memory.states < place(model, "zero2", 64, usable("a100")).memory.states / 10


def test_paper_and_configuration_agree(read):
    model = read_model("chemgpt_1.2b", ["batch.tokens=65536"], 100, 32.0, "bf16-mixed")
    point = read("+recipe=chemgpt_1.2b", "launcher=slurm", "launcher.gpu=a100-40gb")
    on_paper = place(model, "zero1", 8, usable("a100-40gb")).memory.total
    assert on_paper == pytest.approx(point.memory().total, rel=0.05)


def test_the_verb_prints_both_tables():
    arguments = ["--model", "chemgpt_10b", "--gpu", "a100", "--gpus", "64", "--set", "batch.tokens=524288"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for words in ("9,998,612,992", "GiB on each of 64 a100", "efficiency", "1,024", "scaling_efficiency"):
        assert words in result.output
    for arguments, words in (
        (["--model", "chemgpt_10b"], "--gpu a100-40gb"),
        (["--model", "painn", "--gpu", "a100"], "potentials fit one GPU"),
        (["--model", "gpt9", "--gpu", "a100"], "gpt9"),
        (["--model", "chemgpt_10b", "--gpu", "a100", "--gpus", "64"], r"--set batch.tokens=32768"),
    ):
        refused = CliRunner().invoke(app, arguments)
        assert isinstance(refused.exception, ValueError | HardwareError), refused.output
        assert words in str(refused.exception)


def test_the_fastest_strategy_that_fits_is_proposed():
    from chemscale.hardware.accelerators import accelerator
    from chemscale.hardware.communication import Cluster

    cluster = Cluster.of(accelerator("h100"), "h100")
    small = read_model("chemgpt_19m", ["batch.tokens=524288"], 100, 32.0, "bf16-mixed")
    large = read_model("chemgpt_10b", ["batch.tokens=524288"], 100, 32.0, "bf16-mixed")
    assert fastest(small, cluster, 0.4, usable("h100"), 8)[0].strategy == "ddp"
    assert fastest(large, cluster, 0.4, usable("h100"), 64)[0].strategy in ("zero3", "fsdp2")
    assert fastest(large, cluster, 0.4, 1e9, 64) is None


# --- the same step however it is cut ---


def trained(point) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loss of each step, and the weights after the last, in this process."""
    torch.manual_seed(0)
    module, losses = point.build_module(), []

    class Losses(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step > len(losses):
                totals = [sum(column) for column in zip(*read_rows(module.step_sums), strict=True)]
                losses.append(module.training_metrics(totals)["loss"])
                module.step_sums.clear()

    pl.Trainer(
        accelerator="cpu", max_steps=point.steps, max_epochs=-1, callbacks=[Losses()], gradient_clip_val=1.0,
        accumulate_grad_batches=point.config["batch"]["accumulate"], logger=False, limit_val_batches=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False,
    ).fit(module, datamodule=point.data)  # fmt: skip
    return losses, {key: value.clone() for key, value in module.model.state_dict().items()}


def assert_same(one, other, *, to_the_bit: bool) -> None:
    if to_the_bit:
        assert one[0] == other[0]
        assert all(torch.equal(one[1][key], other[1][key]) for key in one[1])
        return
    assert one[0] == pytest.approx(other[0], rel=1e-4)
    for key in one[1]:
        torch.testing.assert_close(one[1][key], other[1][key], rtol=1e-3, atol=1e-4)


def test_a_language_model_takes_the_same_steps_however_they_are_cut(read):
    common = [
        "model.width=16",
        "model.layers=2",
        "model.heads=4",
        "trainer.accelerator=cpu",
        "budget.steps=4",
    ]
    common += ["batch.tokens=2048", "data.molecules=300", "budget.steps=4"]
    whole = trained(read(*common))
    assert_same(whole, trained(read(*common, "batch.per_gpu=512")), to_the_bit=False)
    assert_same(whole, trained(read(*common, "batch.per_gpu=auto")), to_the_bit=True)
    assert_same(whole, trained(read(*common, "trainer.checkpoint_activations=true")), to_the_bit=True)


@pytest.mark.slow
def test_a_potential_takes_the_same_steps_however_they_are_cut(tmp_path, tmp_path_factory):
    folders = tmp_path_factory.getbasetemp()

    def point(*overrides: str):
        arguments = [
            "task=potential", "data.count=100", "model.width=8", "batch.frames=20", "budget.steps=9",
            "trainer.accelerator=cpu", "logger=jsonl", "data.prepare_workers=1", f"runs={tmp_path / 'runs'}",
            f"structures={folders / 'placed-structures'}", *overrides,
        ]  # fmt: skip
        with initialize_config_dir(str(CONF), version_base=None):
            return read_point(compose("train", arguments), arguments)

    one = point()
    steps_an_epoch = len(one.data.plan.epoch(0)[1]) - 1
    assert one.steps > steps_an_epoch  # a short last step of an epoch is among them
    whole = trained(one)
    cut = point("batch.per_gpu=3")
    assert cut.config["batch"]["accumulate"] == 7
    assert cut.identity == one.identity
    assert cut.steps == one.steps
    assert_same(whole, trained(cut), to_the_bit=False)
    assert_same(whole, trained(point("batch.per_gpu=auto")), to_the_bit=True)
    with pytest.raises(ConfigurationError, match=r"checkpoint_activations=true is for language models"):
        point("trainer.checkpoint_activations=true")
