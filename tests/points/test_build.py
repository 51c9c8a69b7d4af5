"""A point is checked whole before anything is spent: a value of the wrong type is refused by its key."""

import pytest
from hydra import compose, initialize_config_dir

from chemscale.common.paths import CONFIG_DIRECTORY
from chemscale.points.build import choose_budget, read_point
from chemscale.points.cost import plan_points
from chemscale.points.run import open_record
from chemscale.points.sweep_folder import describe_longer_budgets
from tests.helpers.points import point_in


def composed(*overrides: str):
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        return compose("train", list(overrides))


WRONG = [
    ("trainer.checkpoint_seconds=fast", r"trainer\.checkpoint_seconds='fast': give a number"),
    ("trainer.threads=x", r"trainer\.threads='x': give a whole number or null"),
    ("trainer.validate_every=often", r"trainer\.validate_every='often': give a number"),
    ("trainer.log_every=0", r"trainer\.log_every=0: give a whole number at least 1"),
    ("trainer.clip=-1", r"trainer\.clip=-1: give a number above 0 or null"),
    ("trainer.clip=nan", r"trainer\.clip=nan: give a number above 0 or null"),
    ("trainer.validate_every=inf", r"trainer\.validate_every=inf: give a number above 0"),
    ("trainer.checkpoint_seconds=-1", r"trainer\.checkpoint_seconds=-1: give a number at least 0"),
    ("trainer.health=null", r"trainer\.health=null: give a mapping"),
    ("trainer.health.spike=-2", r"trainer\.health\.spike=-2: give a number above 0 or null"),
    ("trainer.deterministic=1", r"trainer\.deterministic=1: give true or false"),
    ("trainer.threads=0", r"trainer\.threads=0: give a whole number at least 1 or null"),
    ("trainer.clip=big", r"trainer\.clip='big': give a number or null"),
    ("trainer.accelerator=gpu", r"trainer\.accelerator='gpu': give auto, cpu or cuda"),
    ("trainer.health.skips=x", r"trainer\.health\.skips='x': give a whole number"),
    ("launcher.nodes=two", r"launcher\.nodes='two': give a whole number"),
    ("launcher.wait=maybe", r"launcher\.wait='maybe': give true or false"),
    ("strategy.elastic=1", r"strategy\.elastic=1: give true or false"),
    ("strategy.hang_minutes=long", r"strategy\.hang_minutes='long': give a number"),
    ("strategy.name=zero4", r"strategy\.name='zero4': give auto, single, ddp, zero1"),
    ("strategy.offload=disk", r"strategy\.offload='disk': give none or cpu"),
    ("batch.accumulate=1.5", r"batch\.accumulate=1\.5: give a whole number"),
    ("optimizer.lr=high", r"optimizer\.lr='high': give a number"),
    ("schedule.warmup=x", r"schedule\.warmup='x': give a number"),
    ("data.workers=many", r"data\.workers='many': give a whole number"),
    ("data.validation_fraction=some", r"data\.validation_fraction='some': give a number"),
    ("budget.epochs=some", r"budget\.epochs=some: give a number above 0, or null"),
    ("seed=x", r"seed='x': give a whole number"),
    ("trunk=maybe", r"trunk='maybe': give true or false"),
    ("pause=2", r"pause=2: give a number above 0 and below 1 or null"),
    ("model.width=wide", r"model\.width='wide': give a whole number"),
    ("model.width=64.0", r"model\.width=64\.0: give a whole number, written out: model\.width=64"),
    ("seed=-1", r"seed=-1: give a whole number at least 0"),
    ("optimizer.lr=nan", r"optimizer\.lr=nan: give a number above 0"),
    ("optimizer.eps=-1", r"optimizer\.eps=-1: give a number above 0"),
    ("optimizer.betas=[0.9]", r"optimizer\.betas=\[0\.9\]: give a list of 2"),
    ("optimizer.betas=[0.9,1]", r"optimizer\.betas=1: give a number at least 0 and below 1"),
    ("optimizer.weight_decay=inf", r"optimizer\.weight_decay=inf: give a number at least 0"),
    ("schedule.warmup=-0.1", r"schedule\.warmup=-0\.1: give a number at least 0"),
    ("schedule.floor=1.5", r"schedule\.floor=1\.5: give a number at least 0 and at most 1"),
    ("launcher.max_attempts=0", r"launcher\.max_attempts=0: give a whole number at least 1"),
    ("budget.epochs=-5", r"budget\.epochs=-5\.0: must be above 0"),
    ("budget.epochs=nan", r"budget\.epochs=nan: must be above 0"),
    ("budget.epochs=null", r"needs exactly one budget, got none"),
    (
        "data.validation_fraction=1",
        r"data\.validation_fraction=1: give a number at least 0 and below 1",
    ),
    ("data.validation_fraction=nan", r"data\.validation_fraction=nan: give a number at least 0 and below 1"),
    ("precision=16-mixed", "precision=16-mixed needs a GPU"),
    ("model.family=[1]", r"model\.family=\[1\]: choose one of"),
]
OF_MOLECULES = [
    ("batch.tokens=4k", r"batch\.tokens='4k': give a whole number"),
    ("data.block=big", r"data\.block='big': give a whole number"),
    ("data.molecules=1e2", r"data\.molecules=100\.0: .*written out: data\.molecules=100"),
    ("data.molecules=0", r"data\.molecules=0: give a whole number at least 1 or null"),
    ("data.validation_molecules=-3", r"data\.validation_molecules=-3: give a whole number at least 1"),
    ("data.stereo=off", r"data\.stereo='off': give keep or strip"),
    ("data.salts=big", r"data\.salts='big': give keep, largest or drop"),
    ("data=smiles data.path=null", r"data\.path is missing"),
    ("data=smiles data.path=3", r"""data\.path=3: give text or null, in quotes.*: 'data\.path="3"'"""),
    ("data=smiles data.path={a:1}", r"data\.path={'a': 1}: give text or null"),
    ("data.max_symbols=0", r"data\.max_symbols=0: give a whole number at least 1"),
    ("schedule=plateau", "schedule=plateau is for potentials"),
    ("data.molecules=all", r"data\.molecules='all': give a whole number or null"),
    ("data.verify=sometimes", r"data\.verify='sometimes': give true or false"),
]
OF_STRUCTURES = [
    ("batch.frames=few", r"batch\.frames='few': give a whole number or null"),
    ("data.frames=all", r"data\.frames='all': give a whole number or null"),
    ("data.split_seed=x", r"data\.split_seed='x': give a whole number"),
    ("data.validation_frames=-5", r"data\.validation_frames=-5: give a whole number at least 1 or null"),
    ("data.split_by=atom", r"data\.split_by='atom': give frame or molecule"),
    (
        "data=rmd17 data.path=x data.split=7",
        r"data\.split=7: give a whole number at least 1 and at most 5 or null",
    ),
    ("data=structures data.path=''", r"data\.path is missing"),
    ("ema=1", r"ema=1: give a number above 0 and below 1 or null"),
    ("lint=loud", r"lint='loud': give warn, strict or off"),
    ("force_error_limit=nan", r"force_error_limit=nan: give a number above 0"),
    ("loss.energy=-1", r"loss\.energy=-1: give a number at least 0"),
    ("loss.kind=l3", r"loss\.kind='l3': give mse, mae or huber"),
    ("loss.delta=inf", r"loss\.delta=inf: give a number above 0"),
    ("model.basis=sine", r"model\.basis='sine': give gaussian, bessel or bernstein"),
    ("model.radial=1", r"model\.radial=1: give a whole number at least 2"),
    ("model.cutoff=inf", r"model\.cutoff=inf: give a number above 0"),
    ("loss.forces=strong", r"loss\.forces='strong': give a number"),
    ("ema=slow", r"ema='slow': give a number or null"),
    ("force_error_limit=none", r"force_error_limit='none': give a number"),
    ("data=starter", r"data\.source='starter': a potential needs structures"),
]


@pytest.mark.parametrize(
    ("task", "override", "words"),
    [
        *(("language", *case) for case in (*WRONG, *OF_MOLECULES)),
        *(("potential", *case) for case in (*WRONG, *OF_STRUCTURES)),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key_before_data_are_prepared(
    tmp_path, monkeypatch, task, override, words
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        read_point(composed(f"task={task}", *override.split()))
    assert not list(tmp_path.iterdir())


def test_the_unit_of_budget_that_was_typed_wins_over_one_from_a_file():
    budget = {"epochs": None, "tokens": 1e6, "steps": 10}
    assert choose_budget(budget, ["+sweep=x", "budget.steps=10"]) == {
        "epochs": None,
        "tokens": None,
        "steps": 10,
    }
    assert choose_budget(budget, ["+sweep=x"]) == budget


def test_points_of_a_sweep_share_their_data_and_keep_what_they_were_composed_from(tmp_path, smiles_file):
    own = ["model.layers=1", "model.heads=2", "data.prepare_workers=1", "budget.epochs=1", "logger=none"]
    own += ["data=smiles", f"data.path={smiles_file}", f"corpora={tmp_path}", f"runs={tmp_path}/runs"]
    own += ["batch.tokens=1024", "data.validation_fraction=0.1"]
    overrides = [[*own, f"model.width={width}"] for width in (8, 16)]
    jobs = plan_points([composed(*each) for each in overrides], overrides, own)
    assert [job.overrides for job in jobs] == overrides
    assert all(job.config["budget"]["epochs"] == 1 for job in jobs)
    first, second = (job.train.args[0] for job in jobs)
    assert first.data is second.data
    assert first.identity != second.identity
    paused = first.paused_at(0.5)
    assert paused.identity == first.identity
    assert paused.pause_at == round(first.steps / 2)
    assert first.pause_at is None


def test_points_of_a_longer_budget_say_that_nothing_is_extended(tmp_path, smiles_file):
    short = point_in(tmp_path, smiles_file, "budget.steps=20")
    assert describe_longer_budgets([short]) == ""
    open_record(short, [])
    longer = point_in(tmp_path, smiles_file, "budget.steps=40")
    text = describe_longer_budgets([short, longer])
    assert text.startswith("1 point starts from the beginning")
    assert f"{longer.name} of budget.steps=40; there is {short.identity} of budget.steps=20" in text
    assert "trunk=true" in text
    wider = point_in(tmp_path, smiles_file, "budget.steps=40", "model.width=16")
    assert describe_longer_budgets([wider]) == ""
