"""Asking for scores: each molecule once, within a budget, by several processes, in an order that stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from chemscale.common.parallel import process_pool
from chemscale.reinforcement.journal import Journal
from chemscale.reinforcement.scoring.errors import OracleError, ScoringError
from chemscale.reinforcement.scoring.score import Outcome, Score

ON_ERROR = ("stop", "zero")
TOGETHER = 64
"""Molecules of one call of a function of a list."""
KEPT = "What was scored is kept: the same command goes on with this molecule"


class Oracle:
    """A score with a memory and a budget; use it as a context, which ends its processes.

    A call is one molecule that was not scored before. A molecule that is drawn again costs nothing.

    Args:
        score: of molecules.
        journal: of what was scored.
        budget: calls in all.
        workers: processes that score; one is this process itself.
        on_error: ``stop`` where a function raises or gives no number, or ``zero``: such a molecule has the
            score 0, is a call, and its row says why.

    Raises:
        ScoringError: a function is not there, or cannot be sent to another process.
    """

    def __init__(self, score: Score, journal: Journal, budget: int, workers: int = 1, on_error: str = "stop"):
        if on_error not in ON_ERROR:
            raise ScoringError(f"--on-error {on_error}: choose {' or '.join(ON_ERROR)}.")
        self.score, self.journal, self.budget, self.on_error = score, journal, budget, on_error
        self.size = TOGETHER if score.check() else 1
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Oracle:
        if self.workers > 1:
            self._pool = process_pool(self.workers, with_main=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            for process in processes:  # one that docks for an hour would hold up the end
                with contextlib.suppress(Exception):
                    process.terminate()

    @property
    def left(self) -> int:
        """Calls that the budget still has."""
        return max(0, self.budget - len(self.journal))

    def ask(self, smiles: Sequence[str], step: int) -> bool:
        """Have molecules scored that were not; whether the budget sufficed for all of them.

        Args:
            smiles: canonical, repetitions too.
            step: in which they were drawn.

        Raises:
            OracleError: a function raised or gave no number, and ``on_error`` is ``stop``; a process died.
            ScoringError: it gives the wrong number of values, or values that are no score.
        """
        new = [each for each in dict.fromkeys(smiles) if each not in self.journal]
        asked = new[: self.left]
        batches = [asked[i : i + self.size] for i in range(0, len(asked), self.size)]
        failed: tuple[str, Outcome] | None = None
        for batch, outcomes in self._outcomes(batches):
            rows = list(zip(batch, outcomes, strict=True))
            bad = [row for row in rows if row[1].problem] if self.on_error == "stop" else []
            self.journal.write(step, [row for row in rows if row not in bad])
            failed = failed or (bad[0] if bad else None)
            if failed and self._pool is None:
                break
        self.journal.sync()
        if failed:
            raise OracleError(
                f"{failed[0]}: {failed[1].problem}. {KEPT}. --on-error zero gives such molecules the score 0 "
                "and counts them."
            )
        return len(asked) == len(new)

    def _outcomes(self, batches: list[list[str]]) -> Iterator[tuple[list[str], list[Outcome]]]:
        """Outcomes of batches in their order, whichever process was faster."""
        if self._pool is None:
            for batch in batches:
                yield batch, self.score.outcomes(batch)
            return
        futures: list[tuple[list[str], Future[list[Outcome]]]] = []
        try:
            futures = [(batch, self._pool.submit(self.score.outcomes, batch)) for batch in batches]
            for batch, future in futures:
                yield batch, future.result()
        except BrokenProcessPool:
            undone = next((b for b, f in futures if not f.done() or f.exception() is not None), [""])
            raise OracleError(
                f"A process that scores died (killed, out of memory, or a crash) near {undone[0]}. {KEPT}. "
                'In a script of your own the call belongs below `if __name__ == "__main__":`.'
            ) from None
        except (AttributeError, TypeError) as error:
            if "pickle" not in str(error).lower():
                raise
            raise ScoringError(
                f"This scoring function cannot be sent to another process ({error}): define it in a module "
                "or a file and name it, or use one worker."
            ) from None
