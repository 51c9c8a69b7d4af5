"""What the molecules of a run or a file are compared with, where nobody named it and where somebody did."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from chemscale.common.files import read_regular
from chemscale.molecules.corpus import MANIFEST
from chemscale.molecules.metrics.novelty.index import IndexBuildError, MoleculeIndex, Reference, open_index
from chemscale.objects.address import local_place
from chemscale.records import RECORD_NAME, RunRecord, find_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """Molecules that others are compared with.

    Args:
        reference: whose distributions are compared; None for none.
        training: what is not novel; None for none.
        first: only the so many of the lowest hashes of `training` were trained on; None for all.
        parent: name of the model that a run was fine-tuned from, whose own data `training` lacks; else empty.
    """

    reference: Reference | None = None
    training: Reference | None = None
    first: int | None = None
    parent: str = ""

    @classmethod
    def of(
        cls,
        source: Path,
        reference: Path | str | None,
        training: Path | str | None,
        column: str | None,
    ) -> Known:
        """What was named; of a run whose corpus is there, its own molecules take the place of what was not.

        A run that is named stands for its corpus: the held-out molecules as a reference, else those that it
        was trained on.

        Args:
            source: what is judged.
            reference: as it was named, or None.
            training: likewise.
            column: of their files.

        Raises:
            IndexBuildError: a run is named whose corpus is not here.
            RecordError: several runs have the name.
        """
        corpus, first = (None, None) if reference and training else corpus_of(source)
        own = Reference(corpus, split="validation") if corpus else None
        compared = _named(reference, column, "validation")[0] if reference else own
        if training:
            return cls(compared, *_named(training, column, "train"))
        if corpus is not None:
            return cls(compared, Reference(corpus, split="train"), first, parent_of(source))
        return cls(compared, compared)

    def open(
        self, workers: int, *, silent: bool = False
    ) -> tuple[MoleculeIndex | None, MoleculeIndex | None]:
        """Indices of the reference and of the training molecules.

        Args:
            workers: processes of a build.
            silent: show no progress.
        """

        def opened(known: Reference | None) -> MoleculeIndex | None:
            return None if known is None else open_index(known, workers=workers, silent=silent)

        compared = opened(self.reference)
        return compared, compared if self.training == self.reference else opened(self.training)


def _named(path: Path | str, column: str | None, split: str) -> tuple[Reference, int | None]:
    """What a person named, and how many of its molecules count; of a run it is a part of its corpus."""
    run = find_run(Path(path))
    if not (run / RECORD_NAME).is_file():
        return Reference.of(path, column), None
    corpus, first = corpus_of(run)
    if corpus is None:
        raise IndexBuildError(
            f"{path}: the corpus that this run was trained on is not here: name it, or a file of molecules."
        )
    return Reference(corpus, split=split), first if split == "train" else None


def corpus_of(run: Path) -> tuple[Path | None, int | None]:
    """Folder of the corpus that a run was trained on, and on how many of its molecules (None for all).

    Args:
        run: directory of a run; of anything else there is none.
    """
    if not (run / RECORD_NAME).is_file():
        return None, None
    record = RunRecord.load(run)
    corpora = local_place(record.config.get("corpora", "corpora"))
    for manifest in sorted(corpora.glob(f"*/{MANIFEST}")):
        try:
            if json.loads(read_regular(manifest)).get("corpus_hash") == record.data_hash:
                return manifest.parent, record.config.get("data", {}).get("molecules")
        except (OSError, ValueError):
            continue
    log.warning(
        "The corpus that %s was trained on is not in %s: nothing of it is compared. Give --reference.",
        run,
        corpora,
    )
    return None, None


def parent_of(run: Path) -> str:
    """Name of the model that a run was fine-tuned from; empty where there is none.

    Args:
        run: directory of a run with a record.
    """
    parent = RunRecord.load(run).parent
    return str(parent.get("name") or "another model") if parent else ""
