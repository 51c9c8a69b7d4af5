"""The loop of an optimisation: draw, score, reward, learn; one step a batch."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chemscale.common.files import atomic_path
from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.conditions import open_prefix
from chemscale.molecules.generation.sampling import Sampling
from chemscale.molecules.tokenizers.opening import AnyTokenizer
from chemscale.reinforcement import state
from chemscale.reinforcement.diversity import DiversityFilter
from chemscale.reinforcement.objective import augmented_nll, best_part
from chemscale.reinforcement.oracle import Oracle
from chemscale.reinforcement.policy import Draw, draw, nats, random_seed, update
from chemscale.reinforcement.replay import Memory, Replay
from chemscale.reinforcement.settings import Settings
from chemscale.reinforcement.state import Position, StateError


@dataclass(frozen=True)
class StepRow:
    """A row of ``steps.csv``.

    Args:
        step: number, from 1.
        calls: oracle calls so far.
        drawn: different sequences.
        valid: of them molecules with an end.
        new: of them scored for the first time.
        score: mean over the valid; NaN where there is none.
        reward: mean over all, after the diversity filter.
        prior_nats: mean nats of the drawn under the prior.
        loss: squared nats before the step.
    """

    step: int
    calls: int
    drawn: int
    valid: int
    new: int
    score: float
    reward: float
    prior_nats: float
    loss: float


class Loop:
    """An agent that learns from a score; what it is after a step follows from its start and the scores alone.

    Args:
        prior: that the agent is kept near; its weights stay.
        agent: that learns, on the same device.
        tokenizer: of both.
        oracle: that scores.
        settings: how it learns.
        folder: where states and ``steps.csv`` lie.
        name: of the agent, for its card.
    """

    def __init__(
        self,
        prior: ChemGPT,
        agent: ChemGPT,
        tokenizer: AnyTokenizer,
        oracle: Oracle,
        settings: Settings,
        folder: Path,
        name: str,
    ):
        self.prior = prior.eval().requires_grad_(False)
        self.agent = agent.eval().requires_grad_(True)
        self.tokenizer, self.oracle, self.settings = tokenizer, oracle, settings
        self.folder, self.name = folder, name
        self.sampling, self.opening = Sampling(max_length=settings.max_length), open_prefix(tokenizer)
        self.adam = torch.optim.Adam(agent.parameters(), lr=settings.learning_rate)
        self.replay = Replay(settings.replay_size, settings.replay_choice)
        self.filter = DiversityFilter(settings.bucket, settings.min_score)
        self.position = Position()
        self.rows: list[StepRow] = []
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Go on from the newest state, if there is one.

        Raises:
            StateError: the files of the folder do not belong together.
        """
        if found := state.newest(self.folder):
            self.position = state.load(found, self.agent, self.adam)
        journal = list(self.oracle.journal.rows.values())
        if len(journal) < self.position.calls:
            raise StateError(
                f"{self.oracle.journal.path} has {len(journal)} rows, and {self.position.calls} were scored: "
                "some are missing. Put the file back, or choose another --out."
            )
        self.replay.restore(self.position.replay)
        self.filter.rebuild((row.smiles, row.score) for row in journal[: self.position.calls])
        self.rows = _read_rows(self.folder / "steps.csv", self.position.step)

    def run(
        self, steps: int | None, patience: int, save_seconds: float, shown: Callable[[StepRow], None]
    ) -> str:
        """Take steps until the budget is spent; why it ended.

        Args:
            steps: in all at most; None for any number.
            patience: steps without a new molecule after which it ends.
            save_seconds: between two states on disk.
            shown: is told each step.

        Raises:
            OracleError: see ``Oracle.ask``; ``ScoringError`` too.
            DivergedError: see ``policy.update``.
        """
        while True:
            if not self.oracle.left and len(self.oracle.journal) == self.position.calls:
                ended = "budget"
            elif steps is not None and self.position.step >= steps:
                ended = "steps"
            elif self.position.idle >= patience:
                ended = "nothing new"
            else:
                row = self._step()
                if row is not None:
                    shown(row)
                    if time.monotonic() - self._saved >= save_seconds:
                        self.save()
                    continue
                ended = "budget"
            self.save()
            return ended

    def save(self) -> None:
        """Write the state of now, and the table of steps."""
        self.position.replay = self.replay.to_list()
        _write_rows(self.folder / "steps.csv", self.rows)
        block = self.settings.max_length
        saved = (self.folder, self.position, self.agent, self.tokenizer, self.adam)
        state.save(*saved, name=self.name, block=block)
        self._saved = time.monotonic()

    def _step(self) -> StepRow | None:
        """One step; None where the budget ended within it, and nothing was learned."""
        settings, step = self.settings, self.position.step + 1
        how = (settings.batch, self.sampling)
        drawn = draw(self.agent, self.tokenizer, *how, opening=self.opening, seed=settings.seed, step=step)
        molecules = [each.smiles for each in drawn if each.smiles]
        if not self.oracle.ask(molecules, step):
            return None
        calls = max(
            self.position.calls, max((self.oracle.journal.rows[m].call for m in molecules), default=0)
        )
        scores = [self.oracle.journal.score(each.smiles) if each.smiles else 0.0 for each in drawn]
        rewards = self._rewards(drawn, scores)
        prior_nats = nats(self.prior, [each.ids for each in drawn], self.opening.start)
        loss = self._learn(drawn, rewards, prior_nats, step)
        new = calls - self.position.calls
        self.position.step, self.position.calls = step, calls
        self.position.idle = 0 if new else self.position.idle + 1
        valid = [score for each, score in zip(drawn, scores, strict=True) if each.smiles]
        score, reward, needed = (_mean(values) for values in (valid, rewards, prior_nats.tolist()))
        row = StepRow(step, calls, len(drawn), len(molecules), new, score, reward, needed, loss)
        self.rows.append(row)
        return row

    def _rewards(self, drawn: list[Draw], scores: list[float]) -> list[float]:
        if self.settings.diversity == "none":
            return scores
        rewards, full = self.filter.rewards([each.smiles for each in drawn], scores)
        self.replay.memories = [m for m in self.replay.memories if m.smiles not in full]
        return rewards

    def _learn(self, drawn: list[Draw], rewards: list[float], prior_nats: torch.Tensor, step: int) -> float:
        """Move the agent by a batch and by what is remembered; remember the batch."""
        settings = self.settings
        places = list(range(len(drawn)))
        if settings.method == "ahc":
            places = best_part(rewards, settings.top_fraction)
        rng = np.random.default_rng(random_seed(settings.seed, step, purpose=1))
        again = self.replay.sample(settings.replay, rng)
        ids = [drawn[i].ids for i in places] + [memory.ids for memory in again]
        device = prior_nats.device
        nll = torch.cat([prior_nats[places], torch.tensor([m.prior_nll for m in again], device=device)])
        gained = torch.tensor([rewards[i] for i in places] + [m.reward for m in again], device=device)
        target = augmented_nll(nll, gained, settings.strength)
        loss = update(self.agent, self.adam, ids, target, self.opening.start)
        found = zip(drawn, rewards, prior_nats.tolist(), strict=True)
        self.replay.add(Memory(d.smiles, d.ids, reward, nll) for d, reward, nll in found if d.smiles)
        return loss


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _write_rows(path: Path, rows: list[StepRow]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(StepRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _read_rows(path: Path, steps: int) -> list[StepRow]:
    """Rows of the steps that are done; those behind the state are taken again."""
    if not path.exists():
        return []
    try:
        with open(path, newline="") as file:
            rows = [_row(cells) for cells in csv.DictReader(file)]
    except (TypeError, KeyError, ValueError):
        raise StateError(f"{path}: damaged. Remove it: the figures of earlier steps go with it.") from None
    return [row for row in rows if row.step <= steps]


def _row(cells: dict[str, str]) -> StepRow:
    values: dict[str, Any] = {
        f.name: int(cells[f.name]) if f.type == "int" else float(cells[f.name]) for f in fields(StepRow)
    }
    return StepRow(**values)
