"""A trained model as a generator of other frameworks: an object with ``generate(number_samples)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from chemscale.molecules.conditions import prefix_ids
from chemscale.molecules.conditions.asking import Value
from chemscale.molecules.generation.decoding import decode
from chemscale.molecules.generation.drawing import Batches
from chemscale.molecules.generation.request import Request
from chemscale.molecules.loading import load_trained


class MoleculeGenerator:
    """SMILES on demand, as GuacaMol's ``DistributionMatchingGenerator``, MOSES and MolScore ask for them.

    Calls go on where the last one ended: ``generate(3)`` and ``generate(7)`` give what ``generate(10)`` does.
    Nothing of those frameworks is imported; GuacaMol takes any object with this method::

        assess_distribution_learning(MoleculeGenerator("runs/mine/model"), chembl_training_file=…)

    Args:
        run: directory of a finished point, RUNS/SWEEP/NAME, or a folder with a model.
        request: how they are drawn (its number `n` does not count); None for the model's own distribution.
        device: cpu, cuda, cuda:N, or auto.
        condition: what is asked of a model that was trained with conditions, as for ``generate``.

    Raises:
        ConditionError: a condition that the model cannot be asked for.
        ValueError: there is no model, or the request does not fit it.
    """

    def __init__(
        self,
        run: Path | str,
        request: Request | None = None,
        device: str = "auto",
        condition: Mapping[str, Value] | None = None,
    ):
        model, self.tokenizer = load_trained(Path(run), device)
        asked = request or Request(n=1)
        start = (*prefix_ids(self.tokenizer, condition or {}), *asked.start_ids)
        self.batches = Batches(model, self.tokenizer, replace(asked, start_ids=start))
        self._number = 0
        self._waiting: list[str] = []
        self._seen: set[str] = set()

    def generate(self, number_samples: int) -> list[str]:
        """The next SMILES: canonical, or empty where a sequence is no molecule.

        Args:
            number_samples: how many; invalid ones count, unless the request leaves them out.

        Raises:
            ValueError: a request for unique or valid molecules that finds none in a hundred batches.
        """
        request, barren = self.batches.request, 0
        while len(self._waiting) < number_samples:
            batch = self.batches.draw(self._number, request.batch)
            self._number += 1
            before = len(self._waiting)
            for row in decode(self.tokenizer, batch):
                if (request.filters and not row.valid) or (request.unique and row.smiles in self._seen):
                    continue
                if request.unique:
                    self._seen.add(row.smiles)
                self._waiting.append(row.smiles)
            barren = barren + 1 if len(self._waiting) == before else 0
            if barren == 100:
                raise ValueError(
                    f"No further molecule in {barren * request.batch:,} sequences: ask for fewer, or not for "
                    "unique ones."
                )
        found, self._waiting = self._waiting[:number_samples], self._waiting[number_samples:]
        return found
