"""Settings that train in no time, as processes of their own, and rules over them."""

import json
import os
import signal
import time
from pathlib import Path

from chemscale.launchers import worker
from chemscale.launchers.settings import PointJob
from chemscale.launchers.verdicts import write_verdict
from chemscale.records import Compute, DataSeen, Parameters, PointPlan, RunRecord, State
from chemscale.sweeps.settings_feed import has_reached
from tests.helpers.launch import config

STEPS = 100
FIRST = 0.1
"""The share that every setting is trained to."""
OWN_RULE = """\
from chemscale.sweeps.settings_feed import has_reached


def choose(plans, settings, busy, free):
    share = settings["rungs"][0]
    short = [n for n, plan in enumerate(plans) if not has_reached(plan, share)]
    last = [n for n in (0, 1) if n not in short and not has_reached(plans[n], 1.0)]
    asked = [*((n, 1.0) for n in last), *((n, share) for n in short)]
    return [(n, share) for n, share in asked if n not in busy][:free]
"""
"""A rule of a user's own: the first two settings go to their end as soon as they have reached the share."""


def ends_at_once(plans, settings, busy, free):
    """What has reached the first share goes to its end, before others begin."""
    first = [(n, FIRST) for n, plan in enumerate(plans) if not has_reached(plan, FIRST)]
    short = [n for n, _ in first]
    last = [(n, 1.0) for n, plan in enumerate(plans) if n not in short and not has_reached(plan, 1.0)]
    return [(n, share) for n, share in [*last, *first] if n not in busy][:free]


def jobs_in(folder: Path, *behaviour: dict, parallel: int = 1) -> list[PointJob]:
    """Points that behave as they are told to: ``waits`` for another one, ``fails``, …."""
    common = config("launcher=local", f"launcher.parallel={parallel}", "trainer.accelerator=cpu")
    common |= {"runs": str(folder), "sweep_name": "settings"}
    return [
        PointJob(
            PointPlan(f"id{n}", folder / "settings" / f"id{n}", f"lr{n}", STEPS, 1, 1, 1, 1),
            {**common, "behaviour": each},
            [],
        )
        for n, each in enumerate(behaviour)
    ]


def record_of(
    directory: Path, pause: float | None, state: State | None = None, reason: str = ""
) -> RunRecord:
    """A record, saved, of a point that was trained to a share of its steps."""
    steps = round(STEPS * (1 if pause is None else pause))
    directory.mkdir(parents=True, exist_ok=True)
    known = RunRecord.load(directory).attempts if (directory / "record.json").exists() else 0
    record = RunRecord(
        identity=directory.name, sweep="settings", family="chemgpt", name=directory.name, config={},
        versions={}, git_revision=None, data_hash="", seed=0, parameters=Parameters(1, 1, 1, 1),
        state=state or (State.DONE if pause is None else State.PAUSED), reason=reason, attempts=known + 1,
        planned_steps=STEPS, data=DataSeen(steps), compute=Compute(),
    )  # fmt: skip
    record.save(directory)
    return record


def run_point(config: dict, overrides: list[str], directory: str) -> None:
    """Stands for ``worker.run_point`` of a rank: a record without training, and a line when it began."""
    worker.prepare_process()
    folder, behaviour = Path(directory), config["behaviour"]
    folder.mkdir(parents=True, exist_ok=True)
    share = config["pause"]
    began(folder.parent, folder.name, share)
    while share and "waits" in behaviour and (behaviour["waits"], FIRST) not in beginnings(folder.parent):
        time.sleep(0.02)
    if behaviour.get("fails"):
        record_of(folder, share, State.FAILED, "told to fail")
        error = RuntimeError("told to fail")
        write_verdict(error)
        raise error
    if behaviour.get("dies") and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour.get("stops"):  # as a person stops the command
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
    record_of(folder, share)


def began(sweep: Path, identity: str, share: float | None) -> None:
    """Write down that a rank began."""
    with open(sweep / "began.jsonl", "a") as file:
        file.write(json.dumps([identity, 1.0 if share is None else share]) + "\n")


def beginnings(sweep: Path) -> list[tuple[str, float]]:
    """Identities and shares of ranks, in the order in which they began."""
    lines = (sweep / "began.jsonl").read_text().splitlines()
    return [(identity, share) for identity, share in map(json.loads, filter(None, lines))]
