"""A trained model taken out of chemscale: as a folder, in the form of another program, onto the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from chemscale.molecules.tokenizers.opening import load_tokenizer
from chemscale.points.trained.card import CardSettings, Described, write_card
from chemscale.points.trained.checkpoint import ExportError, export_model
from chemscale.points.trained.forms import Written, check_form, write_form
from chemscale.points.trained.hub import check_push, push
from chemscale.points.trained.potential_forms import POTENTIAL_FORMS, WrittenPotential, write_potential_form
from chemscale.points.trained.provenance import facts_of_folder, is_export, write_facts
from chemscale.points.trained.source import Repair, Source, from_download, from_run

__all__ = ["CardSettings", "ExportError", "Exported", "export", "export_model"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        name: of the model.
        folder: with its files; None where they went to the Hub alone.
        form: hf | gpt2 | onnx | gguf | aoti | exported.
        step: of the checkpoint; None where it was a folder.
        positions: longest sequence, begin and end included; 0 for a potential.
        difference: largest difference of logits, or of energies, forces and stress, from those of chemscale's
            model; None where nothing was there to compare with.
        url: of the repository on the Hub; None where nothing was pushed.
        lines: all of it in words.
    """

    name: str
    folder: Path | None
    form: str
    step: int | None
    positions: int
    difference: float | None
    url: str | None
    lines: list[str] = field(default_factory=list)


def export(
    run: Path | str | None = None,
    to: Path | str | None = None,
    *,
    from_hf: Path | str | None = None,
    step: int | None = None,
    form: str = "hf",
    rows: str = "keep",
    names: str = "published",
    positions: int | None = None,
    push_to: str | None = None,
    private: bool = False,
    license: str = "unknown",
    datasets: tuple[str, ...] = (),
    check: bool = True,
    device: str = "cpu",
) -> Exported:
    """Write a trained model as a folder that others can use, with a model card, and push it if asked.

    Everything is written beside `to` and renamed at the end: the folder is whole or absent. The data are not
    needed: a run carries what its weights belong to.

    Args:
        run: a point, finished or not (its directory, or RUNS/SWEEP/NAME), or a saved model folder. One that
            an export wrote is pushed as it is where nothing else is asked for.
        to: folder to write; it must not exist. None with `push_to`: nothing stays here.
        from_hf: a downloaded ChemGPT folder to repair, in place of `run`.
        step: of a checkpoint that is still there; the newest whole one where None.
        form: hf (GPT-Neo for ``transformers``, or a potential's safetensors), gpt2 (an exact GPT-2), onnx,
            or gguf (for llama.cpp); of a potential aoti (compiled, for C++) or exported (PyTorch's program).
        rows: keep | prune, what becomes of word pieces in a downloaded vocabulary.
        names: published | selfies2, of the symbols of a downloaded vocabulary.
        positions: of gpt2 and gguf; None for as many as are exact.
        push_to: repository on the Hugging Face Hub, OWNER/NAME.
        private: of a repository that is made now.
        license: identifier of the Hub for the model card.
        datasets: names on the Hub, for the model card.
        check: compare the written form's logits with the model's, by ``transformers`` or onnxruntime; of a
            potential its energies, forces and stress.
        device: cpu or cuda, where a potential's aoti or exported form will run.

    Returns:
        Where the files are, and how far what they compute agrees.

    Raises:
        ExportError: nothing to export, no place for it, options that do not go together, a form that does not
            give the model's logits, or a Hub that does not take it.
        ValueError: what is given cannot be read; the message says why.
    """
    settings = CardSettings(license, tuple(datasets))
    repair = Repair(rows, names)
    target = _check_request(run, to, from_hf, step, repair, push_to)
    check_form(form, positions, device)
    if push_to is not None:
        check_push(push_to)
    as_it_is = target is None and form == "hf" and settings == CardSettings()
    if push_to is not None and run is not None and as_it_is and is_export(Path(run)):
        return _push_as_it_is(Path(run), push_to, private=private)
    make = partial(_stage, run, from_hf, step, repair)
    write = partial(_write, form=form, positions=positions, check=check, settings=settings, device=device)
    return _carry_out(make, write, target, form, push_to, private)


def _stage(
    run: Path | str | None, from_hf: Path | str | None, step: int | None, repair: Repair, into: Path
) -> Source:
    """The model folder that an export begins with."""
    if from_hf is not None:
        return from_download(Path(from_hf), repair, into)
    assert run is not None
    return from_run(Path(run), step, into)


def _carry_out(
    make: Callable[[Path], Source],
    write: Callable[..., Written | WrittenPotential | None],
    target: Path | None,
    form: str,
    push_to: str | None,
    private: bool,
) -> Exported:
    """Write beside the target, rename, and push.

    Raises:
        ExportError: no folder can be made there, or the Hub does not take it.
    """
    beside = target.parent if target else None
    if beside:
        try:
            beside.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"{beside}: no folder can be made there ({error.strerror}).") from None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".export-") as scratch:
        staged = Path(scratch) / "model"
        source = make(staged)
        folder = Path(scratch) / form if form != "hf" else staged
        written = write(source, folder=folder)
        lines = [*source.notes, *([written.proof] if written else [])]
        if target:
            folder = folder.rename(target)
            step_text = "" if source.step is None else f"Step {source.step} of "
            lines.append(f"{step_text}{source.name} written to {target}")
        url = None
        if push_to is not None:
            url = push(
                folder,
                push_to,
                private=private,
                message=f"{source.name}, exported by chemscale",
                again=_again(target, push_to),
            )
            lines.append(f"Pushed to {url}")
    positions_there, difference = (written.positions, written.difference) if written else (0, None)
    return Exported(source.name, target, form, source.step, positions_there, difference, url, lines)


def _push_as_it_is(folder: Path, push_to: str, *, private: bool) -> Exported:
    """Push a folder that an export wrote, in whatever form, with a card that somebody may have edited."""
    name = str(facts_of_folder(folder).get("name") or folder.resolve().name)
    message = f"{name}, exported by chemscale"
    url = push(folder, push_to, private=private, message=message, again=_again(folder, push_to))
    return Exported(name, folder, "hf", None, 0, None, url, [f"Pushed to {url} as it stands in {folder}"])


def _check_request(
    run: Path | str | None,
    to: Path | str | None,
    from_hf: Path | str | None,
    step: int | None,
    repair: Repair,
    push_to: str | None,
) -> Path | None:
    """The folder to write, once it is clear that what was asked for goes together.

    Raises:
        ExportError: it does not.
    """
    if (run is None) == (from_hf is None):
        raise ExportError("Give either a run (or a saved model folder) or --from-hf FOLDER, a download.")
    if from_hf is None and repair != Repair():
        raise ExportError(
            "--rows and --names repair the vocabulary of a download: they go with --from-hf FOLDER."
        )
    if from_hf is not None and step is not None:
        raise ExportError("--step is for the checkpoints of a run; --from-hf is a download.")
    if to is None and push_to is None:
        raise ExportError("Say where it goes: --to FOLDER, or --push OWNER/NAME.")
    target = None if to is None else Path(to)
    if target is not None and target.exists():
        raise ExportError(f"{target} exists: choose another --to or remove it.")
    return target


def _write(
    source: Source,
    form: str,
    folder: Path,
    *,
    positions: int | None,
    check: bool,
    settings: CardSettings,
    device: str,
) -> Written | WrittenPotential | None:
    """Write a staged model in a form, with its card.

    Raises:
        ExportError: a potential in a form of language models, or the other way round.
    """
    written: Written | WrittenPotential | None = None
    if form in POTENTIAL_FORMS and not source.potential:
        raise ExportError(f"--as {form} is for potentials: {source.name} is a ChemGPT.")
    if form in POTENTIAL_FORMS:
        written = write_potential_form(form, source.folder, folder, device=device, check=check)
        described = Described(source.name, form, source.facts, None, 0, written.proof)
    elif source.potential:
        if form != "hf":
            raise ExportError(f"--as {form} is for ChemGPTs: {source.name} is a potential.")
        described = Described(source.name, form, source.facts, None, 0)
    else:
        written = write_form(form, source.folder, folder, name=source.name, positions=positions, check=check)
        tokenizer = load_tokenizer(folder)
        described = Described(source.name, form, source.facts, tokenizer, written.positions, written.proof)
    write_facts(folder, source.facts)
    write_card(folder, described, settings)
    for path in folder.iterdir():  # safetensors makes files that nobody else may read
        path.chmod((folder / "README.md").stat().st_mode)
    return written


def _again(target: Path | None, push_to: str) -> str:
    if target is None:
        return "Nothing is lost: the same command tries again."
    return f"The model stands in {target}: python -m chemscale.export {target} --push {push_to} tries again."
