"""The verb ``optimise``: from a trained model and a score to better molecules, an agent, and a page."""

from __future__ import annotations

import csv
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chemscale.common.files import atomic_path, write_json
from chemscale.common.locks import file_lock
from chemscale.common.progress import ProgressBar
from chemscale.molecules.loading import load_trained
from chemscale.records import find_run
from chemscale.reinforcement import state
from chemscale.reinforcement.curves import TOPS, CurvePoint, area_under_curve, top_curve
from chemscale.reinforcement.journal import Journal, Scored
from chemscale.reinforcement.loop import Loop, StepRow
from chemscale.reinforcement.oracle import Oracle
from chemscale.reinforcement.page import write_page
from chemscale.reinforcement.scoring.score import Score, as_score
from chemscale.reinforcement.settings import SettingError, Settings

log = logging.getLogger(__name__)

ENDS = {
    "budget": "the budget of oracle calls is spent",
    "steps": "all steps are done",
    "nothing new": "the agent draws nothing but molecules that were scored before",
}


@dataclass(frozen=True)
class Optimised:
    """What an optimisation found.

    Args:
        folder: with ``molecules.csv``, ``steps.csv``, ``curve.csv``, ``summary.json``, ``page.html``,
            ``model/``.
        calls: oracle calls, each another molecule.
        budget: calls that were allowed.
        steps: that the agent took.
        ended: ``budget``, ``steps`` or ``nothing new``.
        top: means of the best 1, 10 and 100.
        auc_top10: area under the curve of the best ten over the budget, from 0 to 1.
        curve: means against calls.
        best: molecules by their score, the best first, 100 at most.
        problems: molecules whose scoring failed and that count as 0.
    """

    folder: Path
    calls: int
    budget: int
    steps: int
    ended: str
    top: dict[int, float]
    auc_top10: float
    curve: list[CurvePoint]
    best: list[Scored]
    problems: int


def optimise(
    prior: str | Path,
    score: Any,
    out: str | Path,
    *,
    budget: int = 1000,
    aggregate: str = "product",
    agent: str | Path | None = None,
    steps: int | None = None,
    patience: int = 100,
    workers: int = 1,
    on_error: str = "stop",
    device: str = "auto",
    save_seconds: float = 60.0,
    progress: bool = True,
    **settings: Any,
) -> Optimised:
    """Move a trained model towards molecules of a high score, within a budget of oracle calls.

    The agent begins as the prior and learns by policy gradient that its log-likelihood should be the prior's
    plus σ times the score (REINVENT), from each whole batch or its best part (Augmented Hill-Climb). The
    same call again goes on where an interrupted one stopped, to the bit on a CPU with as many threads, and
    asks for no score twice; a larger budget continues a finished one.

    Args:
        prior: a finished run (its directory, or RUNS/SWEEP/NAME) or a model folder.
        score: what is wanted, see ``scoring.score.as_score``: a function of a SMILES or of a list of SMILES
            that gives numbers from 0 to 1, the name of one, several, or a ``.yaml`` file.
        out: folder to write; a folder of the same optimisation is continued.
        budget: oracle calls at most. A molecule that is drawn again is not scored again.
        aggregate: of several components: product | mean | least.
        agent: what the agent begins as, if not the prior; of the same tokenizer.
        steps: at most; None for any number.
        patience: steps without any new molecule after which it ends.
        workers: processes that score.
        on_error: stop | zero: a molecule whose scoring raises or gives no number.
        device: cpu, cuda, cuda:N, or auto.
        save_seconds: between two states on disk; an interruption costs no more than that, and no call.
        progress: whether it is shown.
        **settings: of the learning, see ``reinforcement.settings.Settings``: method, sigma, learning_rate,
            batch, top_fraction, diversity, bucket, min_score, replay, replay_size, replay_choice, max_length,
            seed.

    Returns:
        What was found; the same is in the folder.

    Raises:
        SettingError: a setting that there is not, or outside its range.
        ScoringError: a score that cannot work as it was asked for.
        OracleError: a scoring function raised or gave no number. What was scored is kept.
        StateError: the folder holds something else.
        ValueError: no trained model there, or two of different tokenizers.
    """
    if budget < 1 or workers < 1 or patience < 1 or (steps is not None and steps < 1):
        raise SettingError("--budget, --workers, --patience and --steps must be at least 1.")
    try:
        how = Settings(**settings)
    except TypeError:
        unknown = sorted(set(settings) - set(Settings.__dataclass_fields__))
        raise SettingError(
            f"{', '.join(unknown)}: no such setting. There are {', '.join(Settings.__dataclass_fields__)}."
        ) from None
    wanted = as_score(score, aggregate)
    wanted.check()
    folder = Path(out)
    model, tokenizer = load_trained(Path(prior), device)
    learner, its_tokenizer = load_trained(Path(prior if agent is None else agent), device)
    if its_tokenizer.hash != tokenizer.hash or learner.config.vocab_size != model.config.vocab_size:
        raise SettingError(
            f"{agent}: another tokenizer than that of {prior}: an agent begins from the prior, or from an "
            "agent of the same prior."
        )
    request = {
        "prior": state.weights_hash(model),
        "agent": state.weights_hash(learner),
        "tokenizer": tokenizer.hash,
        "score": wanted.to_dict(),
        "settings": how.to_dict(),
    }
    state.open_request(folder, request)
    with file_lock(
        folder / ".lock", busy=lambda _: state.StateError(f"{folder}: another process works here.")
    ):
        journal = Journal(folder / state.TABLE, wanted.labels)
        if len(journal) > budget:
            raise SettingError(
                f"--budget {budget}: {folder} has {len(journal)} calls already. Give a larger budget, or "
                "another --out."
            )
        name = f"{find_run(Path(prior)).name} towards {' and '.join(wanted.labels)}"
        with Oracle(wanted, journal, budget, workers, on_error) as oracle:
            loop = Loop(model, learner, tokenizer, oracle, how, folder, name)
            loop.restore()
            ended = _run(loop, budget, steps, patience, save_seconds, progress)
        return _finish(loop, wanted, budget, ended, name)


def _run(loop: Loop, budget: int, steps: int | None, patience: int, save_seconds: float, shows: bool) -> str:
    journal = loop.oracle.journal
    with ProgressBar("optimise", budget, "calls", silent=not shows) as progress:
        if len(journal):
            log.info(
                "Goes on after step %d; %d molecules are scored already.", loop.position.step, len(journal)
            )

        def shown(row: StepRow) -> None:
            best = top_curve([each.score for each in journal.rows.values()])[-1:]
            top = f"top-10 {best[0].means[10]:.3f}, " if best else ""
            mean = f"mean {row.score:.3f}, " if row.valid else ""
            progress.update(row.calls, f"{top}{mean}valid {row.valid} of {row.drawn}")

        progress.update(loop.position.calls)
        return loop.run(steps, patience, save_seconds, shown)


def _finish(loop: Loop, wanted: Score, budget: int, ended: str, name: str) -> Optimised:
    """Write what is read afterwards: the agent, the curve, the summary and the page."""
    folder, rows = loop.folder, list(loop.oracle.journal.rows.values())
    scores = [row.score for row in rows]
    curve = top_curve(scores)
    best = sorted(rows, key=lambda row: (-row.score, row.call))[: max(TOPS)]
    found = Optimised(
        folder,
        len(rows),
        budget,
        loop.position.step,
        ended,
        curve[-1].means if curve else dict.fromkeys(TOPS, 0.0),
        area_under_curve(scores, budget),
        curve,
        best,
        sum(bool(row.problem) for row in rows),
    )
    _place_model(folder, state.newest(folder))
    _write_curve(folder / "curve.csv", curve)
    summary = {
        "schema_version": state.SCHEMA_VERSION,
        "name": name,
        "ended": ended,
        "calls": found.calls,
        "budget": budget,
        "steps": found.steps,
        "top": {str(k): value for k, value in found.top.items()},
        "auc_top10": found.auc_top10,
        "problems": found.problems,
        "score": wanted.to_dict(),
        "settings": loop.settings.to_dict(),
        "best": [{"smiles": row.smiles, "score": row.score, "call": row.call} for row in best],
    }
    write_json(folder / "summary.json", summary)
    write_page(
        folder / "page.html", name, ENDS[ended], found.top, found.auc_top10, summary, curve, loop.rows, best
    )
    return found


def _place_model(folder: Path, newest: Path | None) -> None:
    """Copy the agent of the newest state to ``model``, which is whole at every moment that it is there."""
    assert newest is not None
    partial = folder / "model.part"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(newest / "model", partial)
    shutil.rmtree(folder / "model", ignore_errors=True)
    partial.rename(folder / "model")


def _write_curve(path: Path, curve: list[CurvePoint]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["calls", *(f"top{k}" for k in TOPS)])
        writer.writerows([point.calls, *(point.means[k] for k in TOPS)] for point in curve)
