"""Prepared data that the points of a sweep share: opened, checked and planned once, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from chemscale.molecules.corpus import Corpus
from chemscale.molecules.data_module import BatchShape, MoleculeDataModule
from chemscale.molecules.preparation.telling import log_conditions, log_sources
from chemscale.molecules.settings import MoleculeData
from chemscale.points.data import log_notes, open_or_prepare, open_or_prepare_structures
from chemscale.structures.settings import StructureData
from chemscale.training.distributed.ranks import inside_job

if TYPE_CHECKING:
    from chemscale.structures.batches import BatchBudget
    from chemscale.structures.data_module import StructureDataModule
    from chemscale.structures.replay.frames import Replay
    from chemscale.structures.store import FrameStore

T = TypeVar("T")


class SharedData:
    """Corpora, stores and data modules by what they are made of; one object lives as long as a command."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, Hashable], object] = {}

    def corpus(self, data: MoleculeData, corpora: Path) -> Corpus:
        """The corpus of a section ``data``, prepared where it is missing; what was read is said once.

        Raises:
            ValueError: as ``open_or_prepare``.
        """

        def open_corpus() -> Corpus:
            corpus = open_or_prepare(data, corpora)
            if data.source != "starter" and not inside_job():
                log_sources(corpus)
            if not inside_job():
                log_conditions(corpus)
            return corpus

        return self._once("corpus", (data, corpora), open_corpus)

    def molecules(
        self, corpus: Corpus, shape: BatchShape, data: MoleculeData, seed: int
    ) -> MoleculeDataModule:
        """Batches of molecules: points that see the same in the same order share the plan of their blocks."""
        subset = (data.molecules, data.validation_molecules, data.workers)
        key = (corpus.hash, shape, seed, *subset, data.condition_dropout)

        def plan() -> MoleculeDataModule:
            return MoleculeDataModule(
                corpus,
                shape,
                seed=seed,
                molecules=data.molecules,
                validation_molecules=data.validation_molecules,
                workers=data.workers,
                condition_dropout=data.condition_dropout,
            )

        return self._once("molecules", key, plan)

    def store(self, data: StructureData, structures: Path, lint: str) -> FrameStore:
        """The store of a section ``data``, prepared where it is missing; its findings are shown once.

        Args:
            data: the section.
            structures: where stores are kept.
            lint: what is done about what the linter finds.

        Raises:
            ValueError: as ``open_or_prepare_structures`` and ``lint_store``.
        """
        from chemscale.structures.lint.run import lint_store

        def open_store() -> FrameStore:
            store = open_or_prepare_structures(data, structures)
            if not inside_job():  # the command that planned the point has shown and checked them
                log_notes(store, f"{store.path.name}: ")
                lint_store(store, lint)
            return store

        return self._once("store", (repr(data), structures, lint), open_store)

    def frames(
        self,
        store: FrameStore,
        budget: BatchBudget,
        cutoff: float,
        data: StructureData,
        *,
        accumulate: int,
        seed: int,
        replay: Replay | None = None,
    ) -> StructureDataModule:
        """Batches of frames: points that see the same in the same order share the plan of their batches."""
        from chemscale.points.uncertainty.chosen import selected_positions
        from chemscale.structures.data_module import StructureDataModule

        weights = tuple(sorted((data.weights or {}).items()))
        subset = (data.frames, data.selected, data.validation_frames, data.workers, weights, replay)
        key = (store.hash, budget, accumulate, cutoff, seed, *subset)

        def plan() -> StructureDataModule:
            return StructureDataModule(
                store,
                budget,
                cutoff,
                seed=seed,
                accumulate=accumulate,
                frames=data.frames,
                selection=selected_positions(store, data),
                validation_frames=data.validation_frames,
                workers=data.workers,
                weights=data.weights,
                replay=replay,
            )

        return self._once("frames", key, plan)

    def _once(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        if (kind, key) not in self._made:
            self._made[kind, key] = make()
        return self._made[kind, key]  # type: ignore[return-value]
