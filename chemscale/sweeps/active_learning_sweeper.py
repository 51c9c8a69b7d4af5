"""A sweep in rounds: a committee learns, frames are chosen by it, and the next one learns from these too."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from chemscale.launchers import hooks
from chemscale.launchers.hydra_launcher import compose_point
from chemscale.launchers.settings import PointJob
from chemscale.objects.address import is_address, local_place
from chemscale.records import PointPlan, is_done, keep_plan
from chemscale.sweeps.expansion import SweepError, expand, override_text
from chemscale.sweeps.sweeper import PointSweeper, check_distinct

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """One repetition of one way of choosing frames.

    Args:
        method: uncertain, farthest or random.
        repeat: number of the repetition.
        selection: list of the frames of the newest round; None before the first.
        members: the committee that learned from them.
    """

    method: str
    repeat: int
    selection: Path | None = None
    members: tuple[PointPlan, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A committee of a round.

    Args:
        method: by which its frames were chosen.
        repeat: number of the repetition.
        labels: frames that it learned from.
        plans: of its members.
    """

    method: str
    repeat: int
    labels: int
    plans: tuple[PointPlan, ...]


class ActiveLearningSweeper(PointSweeper):
    """Trains committees round by round and compares ways of choosing frames at equal numbers of labels.

    All methods of a repetition begin from the same random frames and the same committee, so that what they
    differ in afterwards is the choice. What is decided is a function of the store and of finished runs, so
    the same command continues an interrupted sweep and decides again as it did.

    Args:
        rounds: rising numbers of labelled frames.
        methods: ways of choosing: uncertain, farthest, random.
        members: seeds of a committee.
        repeats: repetitions, each from other frames and seeds.
        candidates: frames of the pool that a committee looks at in a round, at most.
        choose: dotted name of the function that decides.
    """

    def __init__(
        self,
        rounds: Any,
        methods: Any,
        members: int,
        repeats: int,
        candidates: int,
        choose: str,
        **rest: Any,
    ):
        super().__init__(**rest)
        self.rounds, self.methods = [int(n) for n in rounds], [str(m) for m in methods]
        self.members, self.repeats, self.candidates = members, repeats, candidates
        self.choose = choose
        if self.rounds != sorted(set(self.rounds)) or not self.rounds or self.rounds[0] < 1:
            raise SweepError(f"hydra.sweeper.rounds={self.rounds}: give rising numbers of labels.")
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise SweepError(f"hydra.sweeper.methods={self.methods}: name each way of choosing once.")
        if members < 2 or repeats < 1 or candidates < 1:
            raise SweepError(
                f"hydra.sweeper: members={members} must be at least 2, repeats={repeats} and "
                f"candidates={candidates} at least 1."
            )

    def sweep(self, arguments: list[str]) -> Any:
        """Plan, train and choose, round by round, then compare.

        Raises:
            SweepError: other keys are swept, or points of a round did not end well.
        """
        bases = expand(arguments, self.axes, self.points)  # type: ignore[arg-type]
        if len(bases) != 1 or self.parent:
            raise SweepError(
                "An active-learning sweep makes its own points, of hydra.sweeper.rounds, methods, members "
                "and repeats: sweep nothing else, and leave parent out."
            )
        if is_address(str(self.composed.runs)):
            raise SweepError(
                f"runs={self.composed.runs}: an active-learning sweep keeps its rounds in the sweep's "
                "folder, which no store has. Give a folder: runs=PATH."
            )
        (base,) = bases
        arms = [Arm(method, repeat) for repeat in range(self.repeats) for method in self.methods]
        trained: list[Trained] = []
        plans: list[PointPlan] = []
        configs: list[DictConfig] = []
        for number, labels in enumerate(self.rounds):
            log.info("Round %d of %d: %d labelled frames.", number + 1, len(self.rounds), labels)
            arms = [self._choose(arm, labels, base) for arm in arms]
            arms, more = self._train(arms, labels, base, arguments, plans)
            configs += more
            trained += [Trained(arm.method, arm.repeat, labels, arm.members) for arm in arms]
        return hooks.resolve(self.finish)(plans, configs, trained)

    def _choose(self, arm: Arm, labels: int, base: Sequence[str]) -> Arm:
        """The arm with the list of frames of its next round."""
        config: Any = OmegaConf.to_container(compose_point(self.context, self.composed, base), resolve=True)
        selection = hooks.resolve(self.choose)(
            config,
            method=arm.method,
            labels=labels,
            repeat=arm.repeat,
            candidates=self.candidates,
            earlier=arm.selection,
            members=arm.members,
            folder=local_place(config["runs"]) / str(config["sweep_name"]) / "selections",
        )
        return replace(arm, selection=selection)

    def _train(
        self,
        arms: Sequence[Arm],
        labels: int,
        base: Sequence[str],
        arguments: Sequence[str],
        plans: list[PointPlan],
    ) -> tuple[list[Arm], list[DictConfig]]:
        """Train what is missing of a round; the points are added to `plans`.

        Raises:
            SweepError: a point is not done at the end.
        """
        overrides: dict[tuple[Path | None, int], list[str]] = {}
        for arm in arms:  # arms of one list of frames, as in the first round, share their committee
            for member in range(self.members):
                seed = arm.repeat * self.members + member
                name = (
                    f"{'first' if labels == self.rounds[0] else arm.method}-r{arm.repeat}-n{labels}-s{seed}"
                )
                own = {"data.selection": str(arm.selection), "seed": seed, "point_name": name}
                words = [*base, *(override_text(key, value) for key, value in own.items())]
                overrides.setdefault((arm.selection, seed), words)
        listed = list(overrides.values())
        configs = [compose_point(self.context, self.composed, words) for words in listed]
        jobs = self.make_jobs(configs, listed, arguments)
        check_distinct(jobs)
        plans += [job.plan for job in jobs]
        keep_plan(plans)
        self._run(jobs)
        of = dict(zip(overrides, (job.plan for job in jobs), strict=True))
        seeds = range(self.members)
        done = [
            replace(
                arm, members=tuple(of[arm.selection, arm.repeat * self.members + member] for member in seeds)
            )
            for arm in arms
        ]
        return done, configs

    def _run(self, jobs: Sequence[PointJob]) -> None:
        missing = [job for job in jobs if not is_done(job.plan.directory)]
        if jobs[0].launcher.name == "slurm" and not jobs[0].launcher.wait:
            log.info("This sweep decides from what a round reaches: launcher.wait=true is forced.")
        self.launch(missing, jobs, wait=True)
        failed = [job.plan.name for job in jobs if not is_done(job.plan.directory)]
        if failed:
            raise SweepError(
                f"{len(failed)} of {len(jobs)} points of this round are not done ({', '.join(failed[:4])}): "
                "the next one cannot be chosen. The same command continues."
            )

    def run_points(self, jobs: Sequence[PointJob]) -> bool:
        """Not called: rounds are run one by one."""
        raise NotImplementedError

    def end(self, plans: Sequence[PointPlan], configs: Sequence[DictConfig]) -> Any:
        """Not called: ``sweep`` ends with what it trained."""
        raise NotImplementedError


def arms_of(trained: Sequence[Trained]) -> Mapping[str, list[Trained]]:
    """Committees by their method, in the order of labels and repetitions.

    Args:
        trained: of a sweep.
    """
    found: dict[str, list[Trained]] = {}
    for each in sorted(trained, key=lambda t: (t.labels, t.repeat)):
        found.setdefault(each.method, []).append(each)
    return found
