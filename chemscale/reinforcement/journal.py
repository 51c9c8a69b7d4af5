"""Every scored molecule, written down before it is used: what was paid for is never paid for again."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chemscale.reinforcement.scoring.score import Outcome

HEAD = ("call", "step", "score", "SMILES", "problem")


class JournalError(ValueError):
    """A table of molecules that is damaged or of another run."""


@dataclass(frozen=True)
class Scored:
    """A molecule with its score.

    Args:
        call: number of the oracle call, from 1.
        step: in which it was drawn.
        smiles: canonical.
        score: from 0 to 1; 0 where there was a problem.
        values: of the components in their own units; NaN where there is none.
        problem: what a component did, or empty.
    """

    call: int
    step: int
    smiles: str
    score: float
    values: tuple[float, ...]
    problem: str = ""


class Journal:
    """``molecules.csv``: one row an oracle call, in their order; a row that was cut off is taken away.

    Args:
        path: of the file; it is made.
        labels: of the components, a column each.

    Raises:
        JournalError: the file is not such a table.
    """

    def __init__(self, path: Path, labels: Sequence[str]):
        self.path, self.labels = path, list(labels)
        self.rows: dict[str, Scored] = {}
        if path.exists():
            self._read()
        else:
            path.write_text(_line([*HEAD, *self.labels]))

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, smiles: object) -> bool:
        return smiles in self.rows

    def score(self, smiles: str) -> float:
        """Of a molecule that was scored."""
        return self.rows[smiles].score

    def write(self, step: int, scored: Iterable[tuple[str, Outcome]]) -> None:
        """Add rows; the system has them when this returns, and the disk after ``sync``.

        Args:
            step: in which they were drawn.
            scored: molecules that are not there yet. A problem counts as a score of 0.
        """
        text = ""
        for smiles, outcome in scored:
            score = 0.0 if outcome.problem else outcome.score
            row = Scored(len(self.rows) + 1, step, smiles, score, outcome.values, outcome.problem)
            self.rows[smiles] = row
            numbers = ["" if math.isnan(value) else repr(value) for value in row.values]
            text += _line([row.call, step, repr(score), smiles, row.problem, *numbers])
        with open(self.path, "a", newline="") as file:
            file.write(text)

    def sync(self) -> None:
        """Have all rows on the disk."""
        with open(self.path, "a") as file:
            os.fsync(file.fileno())

    def _read(self) -> None:
        text = self.path.read_text()
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # the process was killed while it wrote
            with open(self.path, "r+") as file:
                file.truncate(len(whole.encode()))
        rows = list(csv.reader(io.StringIO(whole)))
        if not rows or rows[0] != [*HEAD, *self.labels]:
            raise JournalError(
                f"{self.path}: not the table of this score ({', '.join(self.labels)}). Choose another --out."
            )
        for number, row in enumerate(rows[1:], 1):
            try:
                call, step, score, smiles, problem, *values = row
                if int(call) != number or len(values) != len(self.labels) or smiles in self.rows:
                    raise ValueError
                numbers = tuple(float(value) if value else math.nan for value in values)
                self.rows[smiles] = Scored(number, int(step), smiles, float(score), numbers, problem)
            except ValueError:
                raise JournalError(
                    f"{self.path}, row {number}: damaged. Put it back as it was, or choose another --out."
                ) from None


def _line(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
