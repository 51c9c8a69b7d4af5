"""The verb ``probe``: how well measured properties are predicted from what a model has learned."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.common.files import write_json
from chemscale.common.progress import ProgressBar
from chemscale.models.chemgpt import ChemGPT
from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.encoding import Encoder, longest_molecule
from chemscale.molecules.representation.states import check_pooling, layer_number, pooled_states
from chemscale.molecules.representation.stream import in_batches, tokens_of, weights_hash, workers_of
from chemscale.probing.data import LabelledMolecules, ProbeError, read_labelled
from chemscale.probing.fine_tuning import FineTuning, fine_tune
from chemscale.probing.results import ProbeResult, outcomes_of
from chemscale.probing.splits import PARTS, RULES, Split, draws, make_split, scaffolds, write_index
from chemscale.records import find_run

log = logging.getLogger(__name__)


@dataclass
class _Work:
    """What one probe needs: the model, the data, and where finished parts are kept."""

    model: ChemGPT
    data: LabelledMolecules
    splits: list[Split]
    pooling: str
    layer: int
    how: FineTuning | None
    folder: Path
    silent: bool
    tokens: int
    start: tuple[int, ...]
    fits: dict[str, list[Any]] = field(default_factory=dict)


def probe(
    run: str | Path,
    molecules: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    column: str | int | None = None,
    kind: str | None = None,
    split: str = "scaffold",
    seeds: int = 3,
    pooling: str = "mean",
    layer: int = -1,
    fine_tune: FineTuning | bool = False,
    bootstrap: int = 1000,
    name: str | None = None,
    out: str | Path | None = None,
    batch: int | None = None,
    device: str = "auto",
    progress: bool = True,
) -> ProbeResult:
    """Predict the labels of a table by linear heads on frozen embeddings, beside Morgan fingerprints.

    ``probe-NAME.json`` and ``probe-NAME.split.csv``, which says which row stands in which part, are written
    beside the run's record. The same call again goes on where an interrupted one was, and gives back what is
    finished.

    Args:
        run: a finished point, RUNS/SWEEP/NAME, or a model folder. molecules: CSV, Parquet or another file
        with molecules and labels, as MoleculeNet's; cells may be empty. tasks: columns of labels; None for
        the only one of numbers, or all of 0 and 1. column: of the molecules, by name or number from 0; None
        to find it. kind: classification | regression; None to tell by the labels. split: scaffold |
        scaffold-shuffled | random, 80 : 10 : 10, or an index file that a probe wrote. seeds: of splits that
        are drawn, and of fine-tuning. Where nothing is drawn there is one. pooling: mean | last | max.
        layer: whose states are pooled; -1 is the last. fine_tune: train all weights and a head as well, by
        these settings or True for the usual ones. bootstrap: draws of the test molecules. name: of the
        result; None for that of the file and the split. out: folder of the result; None for the run's.
        batch: symbols at a time; None for what suits the device. It changes no number. device: cpu, cuda,
        cuda:N, or auto. progress: show a progress bar.

    Returns:
        The measures with their intervals over test molecules and over seeds.

    Raises:
        ValueError: no such model, file, column or split, labels that are none, or a result of another request
            under the same name.
    """
    check_pooling(pooling)
    how = (FineTuning() if fine_tune is True else fine_tune) or None
    model, tokenizer = load_trained(Path(run), device)
    number, encoder = (
        layer_number(model, layer),
        Encoder.of(tokenizer, longest_molecule(Path(run), model.config)),
    )
    place = _place(Path(run)) if out is None else Path(out)
    stem = name or _default_name(Path(molecules), split, how)
    workers = workers_of(None, model, 1 << 20)
    data = read_labelled(
        molecules, encoder, tasks=tasks, column=column, kind=kind, workers=workers, silent=not progress
    )
    of = scaffolds(data.smiles)
    splits = _splits(data, split, seeds, of, how)
    request = _request(model, data, splits, pooling, number, how, bootstrap)
    target, folder = place / f"probe-{stem}.json", place / f"probe-{stem}.parts"
    if target.exists():
        return _finished(target, request)
    _begin(folder, request)
    work = _Work(
        model,
        data,
        splits,
        pooling,
        number,
        how,
        folder,
        not progress,
        tokens_of(batch, model),
        encoder.start,
    )
    result = _result(stem, request, work, _predict(work), bootstrap)
    write_index(place / f"probe-{stem}.split.csv", data, splits, of)
    result.save(target)
    shutil.rmtree(folder)
    return result


def _place(run: Path) -> Path:
    """The folder of the run's record, or the model's own where it has none."""
    found = find_run(run)
    return found.parent if found.name == "model" and (found.parent / "record.json").exists() else found


def _default_name(molecules: Path, split: str, how: FineTuning | None) -> str:
    stem = molecules.name.split(".")[0] or "molecules"
    return f"{stem}-{split if split in RULES else Path(split).stem}" + ("-fine-tuned" if how else "")


def _splits(
    data: LabelledMolecules, rule: str, seeds: int, of: Sequence[str], how: FineTuning | None
) -> list[Split]:
    if seeds < 1:
        raise ProbeError(f"seeds={seeds}: at least 1.")
    several = seeds if draws(rule) or how else 1
    splits = [make_split(data, rule, seed, of) for seed in range(several if rule in RULES else seeds)]
    if rule not in RULES and not how:
        # An index file has a column a seed, or one for all.
        unique = {each.id: each for each in splits}
        return list(unique.values())
    return splits


def _request(
    model: ChemGPT,
    data: LabelledMolecules,
    splits: Sequence[Split],
    pooling: str,
    layer: int,
    how: FineTuning | None,
    draws: int,
) -> dict[str, Any]:
    if draws < 20:
        raise ProbeError(f"bootstrap={draws}: an interval needs at least 20 draws.")
    return {
        "model": weights_hash(model),
        "molecules": data.content,
        "tasks": data.tasks,
        "kind": data.kind,
        "splits": [split.id for split in splits],
        "pooling": pooling,
        "layer": layer,
        "fine_tuning": asdict(how) if how else None,
        "bootstrap": draws,
    }


def _finished(target: Path, request: dict[str, Any]) -> ProbeResult:
    result = ProbeResult.load(target)
    if differing := _differing(result.request, request):
        raise ProbeError(
            f"{target} is of another request: {', '.join(differing)} differ. Choose another --name, or "
            "remove it."
        )
    log.info("%s was finished before: nothing is computed.", target)
    return result


def _begin(folder: Path, request: dict[str, Any]) -> None:
    mark = folder / "request.json"
    if mark.is_file():
        if differing := _differing(json.loads(mark.read_text()), request):
            raise ProbeError(
                f"{folder} holds an unfinished probe of another request: {', '.join(differing)} differ. "
                "Choose another --name, or remove it."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, request)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    other = json.loads(json.dumps(other))
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def _predict(work: _Work) -> dict[str, list[np.ndarray]]:
    """(n, T) predictions by features, one a seed."""
    from chemscale.probing.heads import fit_heads, morgan  # needs scikit-learn

    fixed = len({split.id for split in work.splits}) == 1
    features: dict[str, Callable[[], Any]] = {
        "embedding": lambda: _embeddings(work),
        "morgan": lambda: morgan(work.data.smiles),
    }
    found: dict[str, list[np.ndarray]] = {}
    for name, compute in features.items():
        held = functools.cache(compute)
        for seed, split in enumerate(work.splits[:1] if fixed else work.splits):

            def fit(held: Any = held, split: Split = split) -> tuple[np.ndarray, Any]:
                return fit_heads(held(), work.data.labels, split.parts, work.data.kind)

            _kept(work, found, name, seed, fit)
    for seed, split in enumerate(work.splits if work.how else []):

        def tune(split: Split = split, seed: int = seed) -> tuple[np.ndarray, Any]:
            return _fine_tuned(work, split, seed)

        _kept(work, found, "fine-tuned", seed, tune)
    return found


def _kept(
    work: _Work,
    found: dict[str, list[np.ndarray]],
    name: str,
    seed: int,
    compute: Callable[[], tuple[np.ndarray, Any]],
) -> None:
    """Predictions and how they were fitted: from an earlier, interrupted call, or computed and kept."""
    path = work.folder / f"{name}-{seed}.json"
    if path.is_file():
        raw = json.loads(path.read_text())
        predictions, fit = np.array(raw["predictions"], dtype=float), raw["fit"]
    else:
        predictions, fit = compute()
        write_json(path, {"predictions": predictions.tolist(), "fit": fit})
    found.setdefault(name, []).append(predictions)
    work.fits.setdefault(name, []).append(fit)


def _embeddings(work: _Work) -> np.ndarray:
    with ProgressBar("embed", len(work.data), "molecules", silent=work.silent) as progress:
        return in_batches(
            lambda each: pooled_states(
                work.model, each, layer=work.layer, pooling=work.pooling, start=work.start
            ),
            work.data.ids,
            work.tokens,
            progress.advance,
        )


def _fine_tuned(work: _Work, split: Split, seed: int) -> tuple[np.ndarray, Any]:
    assert work.how is not None
    measure = "ROC-AUC" if work.data.kind == "classification" else "RMSE"
    with ProgressBar(f"fine-tune seed {seed}", work.how.epochs, "epochs", silent=work.silent) as progress:

        def tell(epoch: int, value: float) -> None:
            progress.update(epoch, f"(validation {measure} {value:.3f})")

        done = fine_tune(
            work.model,
            work.data,
            split.parts,
            work.how,
            seed=seed,
            pooling=work.pooling,
            layer=work.layer,
            start=work.start,
            tokens=work.tokens,
            tell=tell,
        )
    return done.predictions, {"epochs": done.epochs, "best_epoch": done.best_epoch}


def _result(
    name: str, request: dict[str, Any], work: _Work, found: dict[str, list[np.ndarray]], draws: int
) -> ProbeResult:
    data = work.data
    notes = []
    if len({split.id for split in work.splits}) == 1:
        notes.append("The split is fixed and linear heads draw nothing: they are fitted once.")
    described = {
        "rows": data.total,
        "used": len(data),
        "left_out": dict(sorted(data.reasons.items(), key=lambda item: -item[1])),
        "repeated": data.repeated,
        "tasks": data.tasks,
        "kind": data.kind,
    }
    splits = [
        {"rule": split.rule, "seed": split.seed, "id": split.id}
        | {part: int((split.parts == i).sum()) for i, part in enumerate(PARTS)}
        for split in work.splits
    ]
    return ProbeResult(
        name, request, described, splits, outcomes_of(data, work.splits, found, draws), work.fits, notes=notes
    )
