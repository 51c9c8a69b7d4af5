"""Judge the molecules of a file or of a trained model, alone or beside a reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.common.parallel import worker_count
from chemscale.common.versions import versions
from chemscale.molecules.metrics import fcd as chemnet
from chemscale.molecules.metrics.features import compute_features
from chemscale.molecules.metrics.intervals import Value
from chemscale.molecules.metrics.judge import (
    Described,
    Judgement,
    judge,
    judge_novelty,
    judge_validity,
    own_split,
)
from chemscale.molecules.metrics.known import Known
from chemscale.molecules.metrics.novelty.index import MoleculeIndex
from chemscale.molecules.metrics.page.page import write_page
from chemscale.molecules.metrics.result import (
    METRICS_FILE,
    MOLECULES,
    PAGE_FILE,
    SCHEMA_VERSION,
    Evaluation,
    earlier_evaluation,
)
from chemscale.molecules.metrics.sampled.files import SamplesError, fingerprint_of, read_samples
from chemscale.molecules.metrics.sampled.model import Draws, draw_samples, is_model, weights_hash
from chemscale.molecules.metrics.sampled.samples import Samples, lacks_stereo
from chemscale.molecules.metrics.table import METRICS
from chemscale.objects.seals import publish_report
from chemscale.records import find_run

ROWS = 30_000
"""Rows of a file that are judged unless another number is asked for: the number that MOSES recommends."""
FEW = 1000
"""Molecules below which metrics that depend on their number are far from published ones."""
COMPARED_FOR_STEREO = 1000
"""Molecules of a reference that tell whether it has stereo."""


@dataclass(frozen=True)
class _Request:
    """What decides the numbers of an evaluation, in plain values; kept in ``metrics.json``."""

    source: str
    content: str
    draws: dict[str, Any] = field(default_factory=dict)
    column: str | None = None
    reference: str = ""
    training: str = ""
    first: int | None = None
    reference_n: int = 10_000
    fcd: bool = False
    bootstrap: int = 200


def evaluate_molecules(
    source: Path | str,
    *,
    reference: Path | str | None = None,
    training: Path | str | None = None,
    n: int | None = None,
    seed: int = 0,
    batch: int = 256,
    max_length: int = 512,
    device: str = "auto",
    column: str | None = None,
    reference_column: str | None = None,
    reference_n: int = 10_000,
    fcd: bool | None = None,
    bootstrap: int = 200,
    workers: int | None = None,
    out: Path | str | None = None,
    progress: bool = True,
) -> Evaluation:
    """Judge generated molecules as MOSES and GuacaMol do, with intervals, and write JSON and a page.

    The same call again continues where it was interrupted, or only reads what is there. A run of chemscale
    that is given no reference is judged by the held-out molecules of its own corpus, and its novelty by what
    it was trained on. Definitions: Polykovskiy et al., Front. Pharmacol. 11, 565644 (2020); Brown et al., J.
    Chem. Inf. Model. 59, 1096 (2019).

    Args:
        source: a file of molecules, a run (its directory or RUNS/SWEEP/NAME) or a saved model folder.
        reference: molecules that distributions are compared with: a file, a folder, a pattern, a corpus, or
            a run, for those that it held out.
        training: likewise molecules, of a run those that it was trained on, that count
            as known for novelty; None for the reference.
        n: molecules to draw (10,000), or rows of the file (30,000 at most).
        seed: of draws and resamples.
        batch: molecules drawn at a time.
        max_length: symbols of a molecule at most.
        device: where a model draws: cpu, cuda or auto.
        column: name or number of the file's column of molecules; None to find it.
        reference_column: likewise of the reference and of the training molecules.
        reference_n: distinct reference molecules that are compared with, a random sample of them.
        fcd: whether the Fréchet ChemNet Distance is computed; None: where ``fcd`` is installed.
        bootstrap: resamples of an interval.
        workers: processes; None for one a core.
        out: folder of the results; None for ``evaluation`` in the run, or beside the file.
        progress: whether it is shown.

    Returns:
        All metrics, and where they were written.

    Raises:
        SamplesError: no such file or run, nothing valid in it, or `out` holds another evaluation.
        IndexBuildError: the reference holds no molecules.
        SourceError: a file has no column of molecules.
        FCDError: the distance is asked for and its package is missing.
    """
    found = find_run(Path(source))
    with_fcd = chemnet.wanted(fcd)
    known = Known.of(found, reference, training, reference_column)
    drawn = is_model(found)
    draws = Draws(n or Draws.n, seed, batch, max_length)
    request = _Request(
        str(source),
        weights_hash(found) if drawn else fingerprint_of(found),
        asdict(draws) if drawn else {"n": n or ROWS, "seed": seed},
        column,
        str(known.reference or ""),
        str(known.training or ""),
        known.first,
        reference_n,
        with_fcd,
        bootstrap,
    )
    folder, silent = Path(out) if out is not None else _default_folder(found), not progress
    if earlier := earlier_evaluation(folder, asdict(request)):
        publish_report(folder)
        return earlier
    processes = worker_count(workers)
    indices = known.open(processes, silent=silent)
    samples = (
        draw_samples(found, draws, folder / MOLECULES, device=device, silent=silent)
        if drawn
        else read_samples(found, column=column, most=n or ROWS, workers=processes, silent=silent)
    )
    comparison = _Comparison(request, samples, *indices, known.parent, seed, processes, silent)
    evaluation = comparison.finish(folder)
    publish_report(folder)
    return evaluation


def _default_folder(source: Path) -> Path:
    if is_model(source):
        return source / "evaluation"
    name = source.name.split(".")[0].replace("*", "_").replace("?", "_") or "molecules"
    return source.parent / f"{name}-evaluation"


@dataclass(frozen=True)
class _Comparison:
    """The computation, once all that it needs is there."""

    request: _Request
    samples: Samples
    reference: MoleculeIndex | None
    training: MoleculeIndex | None
    parent: str
    seed: int
    workers: int
    silent: bool

    def finish(self, folder: Path) -> Evaluation:
        """Compute, write and give back the evaluation."""
        found, valid = judge_validity(self.samples), self.samples.valid
        if not valid:
            reasons = "; ".join(f"{each['count']} {each['reason']}" for each in self.samples.refusals(4))
            raise SamplesError(f"{self.samples.source}: no valid molecule to judge ({reasons}).")
        if self.training is not None:
            found["novel"] = judge_novelty(valid, self.training, self.request.first)
        sampled, own = self._describe(valid, "the sample"), Judgement({})
        reference: Described | None = None
        if self.reference is not None:
            texts = self.reference.sample(self.request.reference_n)
            reference = self._describe(texts, "the reference")
        judged = judge(sampled, reference, draws=self.request.bootstrap, seed=self.seed)
        if reference is not None:
            some, rest = own_split(len(reference.features), len(valid))
            if len(some):
                own = judge(reference.take(some), reference.take(rest), draws=0, seed=self.seed)
        found |= judged.values
        values = {name: found[name] for name in METRICS if name in found}
        notes = list(self._notes(reference, len(valid)))
        content = self._content(values, own.values, judged.divergences, notes)
        folder.mkdir(parents=True, exist_ok=True)
        other = None if reference is None else reference.features
        write_page(folder / PAGE_FILE, content, sampled.features, other)
        write_json(folder / METRICS_FILE, content)  # last: it says that all is there
        return Evaluation(values, own.values, content["fates"], notes, folder)

    def _describe(self, smiles: list[str], what: str) -> Described:
        features = compute_features(
            smiles, workers=self.workers, title=f"describe {what}", silent=self.silent
        )
        if not self.request.fcd:
            return Described(features)
        return Described(
            features, chemnet.activations(smiles, title=f"ChemNet of {what}", silent=self.silent)
        )

    def _notes(self, reference: Described | None, valid: int) -> Iterator[str]:
        if valid < FEW:
            yield (
                f"Valid molecules: only {valid:,}. Uniqueness, nearest neighbours, scaffolds and FCD depend "
                "on their number. Published values are of 10,000 or 30,000."
            )
        if not self.samples.written:
            yield (
                "The file does not say how its molecules were written (columns SELFIES and truncated): "
                "nothing is known of truncated and rewritten ones, and a file of valid ones looks perfect."
            )
        if reference is None:
            yield "No reference: nothing is compared. Give --reference FILE."
        elif self.request.fcd and min(valid, len(reference.features)) < chemnet.LEAST:
            yield (
                f"FCD of fewer than {chemnet.LEAST} molecules is mostly bias: compare it with values of as "
                "many."
            )
        elif not self.request.fcd:
            missing = "pip install 'chemscale[fcd]'" if not chemnet.is_installed() else "it was not asked for"
            yield f"No FCD: {missing}."
        indices = {"reference": self.reference}
        if self.training is not self.reference:
            indices["training set"] = self.training
        for name, index in indices.items():
            refused = sum(index.refused.values()) if index else 0
            if index and refused:
                reasons = ", ".join(f"{count:,} {reason}" for reason, count in index.refused.items())
                rows = index.description["rows"]
                yield f"Of the {name} {refused:,} of {rows:,} rows are no molecules: {reasons}."
            if index and (without := self._without_stereo(name, index)):
                yield (
                    f"The {without} has no stereo and what it is compared with has: the same molecule with "
                    "and without marks of stereo counts as two, so novelty is too high and similarities are "
                    "too low. Strip the stereo of both, or compare with what the model was trained on."
                )
        if self.parent:
            yield (
                f"Fine-tuned from {self.parent}: novel are those that its own data lack; what {self.parent} "
                "was trained on is not counted. Give a folder of both as --training for novelty beside all."
            )

    def _without_stereo(self, name: str, index: MoleculeIndex) -> str:
        """Which of the sample and an index has no stereo where the other has; empty where they agree."""
        valid, known = self.samples.valid, index.sample(COMPARED_FOR_STEREO)
        return "sample" if lacks_stereo(valid, known) else name if lacks_stereo(known, valid) else ""

    def _content(
        self,
        values: dict[str, Value],
        own: dict[str, Value],
        divergences: dict[str, float],
        notes: list[str],
    ) -> dict[str, Any]:
        samples = self.samples

        def described(index: MoleculeIndex | None) -> dict[str, Any] | None:
            if index is None:
                return None
            return {key: index.description[key] for key in ("source", "rows", "molecules", "refused")}

        return {
            "schema_version": SCHEMA_VERSION,
            "request": asdict(self.request),
            "source": samples.source,
            "sequences": len(samples.drawn),
            "valid": len(samples.valid),
            "fates": samples.fates() if samples.written else {},
            "refusals": samples.refusals(),
            "reference": described(self.reference),
            "training": described(self.training),
            "metrics": {name: value.to_dict() for name, value in values.items()},
            "own": {name: value.to_dict() for name, value in own.items()},
            "guacamol_divergences": divergences,
            "notes": notes,
            "versions": versions(),
        }
