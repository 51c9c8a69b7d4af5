"""A sweep over settings: trained a little, judged, and finished where it is promising."""

import json
import re
import signal
import time

import pytest

from chemscale.launchers.ledger import load_ledger
from chemscale.records import State, find_records
from tests.helpers.preloaded import python
from tests.helpers.runs import SMALL, finish, rows, start, train
from tests.helpers.settings import OWN_RULE

SETTINGS = [
    "+sweep=chemgpt_hparams",
    "model.width=8",
    "optimizer.lr=1e-4,1e-3,1e-2",
    "batch.tokens=256,512",
    "budget.tokens=15000",
    "hydra.sweeper.rule.rungs=[0.1,0.3,0.6]",
    "trainer.log_every=1",
    "trainer.validate_every=0.1",
]


WIDTHS = [a for a in SETTINGS if not a.startswith("model.width")]


def estimate(folder, smiles_file, *arguments, settings=SETTINGS):
    kept = [a for a in SMALL[1:] if not a.startswith(("batch.", "trainer.log", "trainer.validate"))]
    return train(folder, smiles_file, *settings, *kept, *arguments, small=[])


@pytest.fixture(scope="module")
def estimated(tmp_path_factory, smiles_file):
    folder = tmp_path_factory.mktemp("estimated")
    return folder, finish(estimate(folder, smiles_file))


def test_only_promising_settings_are_finished_and_the_saving_is_told(estimated):
    folder, output = estimated
    found = [record for _, record in find_records(folder / "runs")]
    done = [r for r in found if r.state is State.DONE]
    stopped = [r for r in found if r.state is State.STOPPED]
    assert len(found) == 6
    assert done
    assert len(done) + len(stopped) == 6
    rungs = [round(share * steps) for share in (0.1, 0.3, 0.6) for steps in {r.planned_steps for r in found}]
    assert all(r.data.steps in rungs for r in stopped)
    assert all("to be the best, predicted" in r.reason for r in stopped)
    written = json.loads((folder / "runs/chemgpt_hparams/estimate/estimate.json").read_text())
    assert len(written["runs"]) == 6
    assert written["chance_lost"] <= 0.05
    assert f"{len(done)} of 6 settings were finished" in output


def test_a_paused_and_finished_run_equals_one_that_never_paused(estimated, tmp_path, smiles_file):
    folder, _ = estimated
    directory, record = next((d, r) for d, r in find_records(folder / "runs") if r.state is State.DONE)
    one = [
        f"optimizer.lr={record.config['optimizer']['lr']}",
        f"batch.tokens={record.config['batch']['tokens']}",
    ]
    alone = [a for a in SETTINGS if not a.startswith(("optimizer.lr", "batch.tokens"))]
    finish(estimate(tmp_path, smiles_file, *one, "hydra.mode=RUN", settings=alone))
    twin_directory, twin = next(iter(find_records(tmp_path / "runs")))
    assert twin.identity == record.identity
    assert twin.final == record.final
    assert rows(twin_directory) == rows(directory)


def test_the_same_command_again_trains_nothing(estimated, smiles_file):
    folder, _ = estimated
    before = {r.identity: r.updated for _, r in find_records(folder / "runs")}
    finish(estimate(folder, smiles_file))
    assert {r.identity: r.updated for _, r in find_records(folder / "runs")} == before


@pytest.mark.slow
def test_a_setting_goes_on_before_the_last_one_has_begun(tmp_path, smiles_file):
    """Two at once: what has reached its share is not kept waiting for the others."""
    (tmp_path / "own_rule.py").write_text(OWN_RULE)
    own = ["hydra.sweeper.choose=own_rule.choose", "hydra.sweeper.rule.rungs=[0.1]", "launcher.parallel=2"]
    few = [a for a in SETTINGS if not a.startswith(("optimizer.lr", "hydra.sweeper.rule"))]
    output = finish(estimate(tmp_path, smiles_file, "optimizer.lr=1e-3,1e-2", *own, settings=few))
    root = tmp_path / "runs/chemgpt_hparams"
    by_name = {record.name: record for _, record in find_records(root)}
    names = [f"lr{lr}-b{batch}" for lr in ("0.001", "0.01") for batch in (256, 512)]
    begun = {
        name: [began_at(root / "jobs" / f"{job}_0_log.out") for job in jobs]
        for name, jobs in jobs_by_name(root).items()
    }
    assert {name: len(begun[name]) for name in names} == dict(zip(names, (2, 2, 1, 1), strict=True))
    assert begun[names[0]][1] < begun[names[3]][0]
    assert f"{names[0]} goes on to its end" in output[: output.index(f"{names[3]} trains to 10 %")]
    assert [by_name[name].state for name in names] == 2 * [State.DONE] + 2 * [State.STOPPED]
    assert all(by_name[name].data.steps == round(0.1 * by_name[name].planned_steps) for name in names[2:])


@pytest.mark.slow
def test_a_launcher_of_the_users_own_is_given_together_what_is_asked_for(tmp_path, smiles_file):
    few = [a for a in SETTINGS if not a.startswith("optimizer.lr")]
    own = ["optimizer.lr=1e-3,1e-2", "hydra/launcher=basic"]
    finish(estimate(tmp_path, smiles_file, *own, settings=few))
    states = [record.state for _, record in find_records(tmp_path / "runs")]
    assert len(states) == 4
    assert State.DONE in states
    assert set(states) <= {State.DONE, State.STOPPED}


def jobs_by_name(root):
    """Starts of every point, oldest first."""
    return {entry.name: entry.jobs for entry in load_ledger(root).points.values()}


def began_at(log):
    """When a rank began, as its log says."""
    return re.search(r"\((\S+ \S+)\) - Starting", log.read_text())[1]


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_to_the_same_decisions(estimated, tmp_path, smiles_file):
    folder, _ = estimated
    process = estimate(tmp_path, smiles_file)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(tmp_path.rglob("record.json"))) < 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    finish(estimate(tmp_path, smiles_file))
    states = [
        {r.identity: (r.state, r.reason, r.final) for _, r in find_records(f / "runs")}
        for f in (folder, tmp_path)
    ]
    assert states[0] == states[1]


def test_an_estimate_looks_at_no_rung_before_the_first_validation(estimated):
    folder, _ = estimated
    words = [python(), "-m", "chemscale.estimate", "runs/chemgpt_hparams", "--out", "again"]
    assert "settings were finished" in finish(start(folder, words))
    assert json.loads((folder / "again/estimate.json").read_text())["rule"]["rungs"] == [0.1, 0.2, 0.5, 0.8]
    refused = finish(start(folder, [*words, "--rungs", "0.02,0.5"]), status=2)
    assert "no validation by 2%" in refused


def test_a_law_is_not_fitted_to_what_an_estimate_pruned(estimated, smiles_file):
    folder, _ = estimated
    process = start(folder, [python(), "-m", "chemscale.fit", "runs/chemgpt_hparams"])
    assert "does not feed a law" in finish(process, status=2)


@pytest.mark.parametrize(
    ("settings", "argument", "words"),
    [
        (WIDTHS, "model.width=8,16", "these runs differ in model (width: 8 and 16)"),
        (SETTINGS, "hydra.sweeper.rule.estimator=luck", "choose one of tse"),
        (SETTINGS, "hydra.sweeper.rule.rungs=[0.5,0.2]", "give shares of a run that rise"),
        (SETTINGS, "hydra.sweeper.rule.earlier=[nowhere]", "nowhere"),
        (SETTINGS, "+hydra.sweeper.rule.typo=1", "hydra.sweeper.rule.typo: nothing reads this key"),
        (SETTINGS, "optimizer.lr=1e-3", "at least 4 settings, this sweep has 2"),
        (SETTINGS, "trainer.log_every=100", "Lower trainer.log_every"),
        (SETTINGS, "trainer.validate_every=0.2", "nothing is validated by its first rung, 10%"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(tmp_path, smiles_file, settings, argument, words):
    kept = [a for a in settings if a.split("=")[0] != argument.split("=")[0]]
    output = finish(estimate(tmp_path, smiles_file, argument, settings=kept), status=2)
    assert words in output
    assert not list(tmp_path.rglob("record.json"))
