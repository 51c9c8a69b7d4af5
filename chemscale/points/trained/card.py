"""The model card of an export: what the Hugging Face Hub shows, made of what is known and nothing else.

YAML front matter as the Hub reads it (licence, tags, metrics, ``model-index``), then data, tokenizer,
training, law, losses and metrics, use, citation and limits. What is not known is said to be so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chemscale.points.trained import card_use
from chemscale.points.trained.checkpoint import ExportError

UNITS = {
    "nats_per_token": "nats per token",
    "nats_per_molecule": "nats per molecule",
    "nats_per_heavy_atom": "nats per heavy atom",
    "energy_mae_per_atom": "MAE of energies, meV/atom",
    "forces_mae": "MAE of force components, meV/Å",
    "stress_mae": "MAE of stress components, meV/Å³",
}
PAPER = """@article{frey2023neural,
  title   = {Neural scaling of deep chemical models},
  author  = {Frey, Nathan C. and Soklaski, Ryan and Axelrod, Simon and Samsi, Siddharth and
             G{\\'o}mez-Bombarelli, Rafael and Coley, Connor W. and Gadepally, Vijay},
  journal = {Nature Machine Intelligence},
  volume  = {5},
  pages   = {1297--1305},
  year    = {2023},
  doi     = {10.1038/s42256-023-00740-3}
}
"""


@dataclass(frozen=True)
class CardSettings:
    """What only a person can know of a model.

    Args:
        license: identifier of the Hub, such as ``apache-2.0``; ``unknown`` where it is not decided.
        datasets: names on the Hub of the data it was trained on.

    Raises:
        ExportError: a word that the Hub would refuse.
    """

    license: str = "unknown"
    datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", self.license):
            raise ExportError(
                f"--license {self.license}: an identifier of the Hub in small letters, such as mit, "
                "apache-2.0, cc-by-4.0 or other."
            )
        for name in self.datasets:
            if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", name):
                raise ExportError(f"--dataset {name}: a name on the Hub, such as sagawa/pubchem-10m.")


@dataclass(frozen=True)
class Described:
    """What a card is made of.

    Args:
        name: title.
        form: hf | gpt2 | onnx | gguf | aoti | exported.
        facts: content of ``provenance.json``.
        tokenizer: of the model; None for a potential.
        positions: that the model has; 0 for a potential.
        proof: how far the files were checked against the model, in words; empty where they were not.
    """

    name: str
    form: str
    facts: dict[str, Any]
    tokenizer: Any
    positions: int
    proof: str = ""


def write_card(folder: Path, what: Described, settings: CardSettings) -> None:
    """Write ``README.md``.

    Args:
        folder: of the model.
        what: is described.
        settings: licence and data sets.
    """
    front = yaml.safe_dump(front_matter(what, settings), sort_keys=False, allow_unicode=True)
    sections = [
        ("", _summary(what)),
        ("Use", card_use.usage(what.form, what.tokenizer, what.positions)),
        ("Data", _data(what.facts.get("data") or {})),
        ("Tokenizer and notation", _tokenizer(what)),
        ("Training", _training(what.facts)),
        ("Loss", _losses(what.facts.get("losses") or {})),
        ("Scaling law", _law(what.facts.get("law"))),
        ("Metrics", _metrics(what.facts.get("metrics") or {})),
        ("Limits", card_use.limits(what.tokenizer, what.positions, what.form)),
        ("Licence", _license(settings)),
        ("How to cite", f"chemscale, and the paper whose models these are:\n\n```bibtex\n{PAPER}```"),
    ]
    text = [f"---\n{front}---\n\n# {what.name}\n"]
    text += [(f"## {title}\n\n" if title else "") + body.rstrip() + "\n" for title, body in sections if body]
    (folder / "README.md").write_text("\n".join(text))


def front_matter(what: Described, settings: CardSettings) -> dict[str, Any]:
    """The YAML part.

    Args:
        what: is described.
        settings: licence and data sets.
    """
    is_text = what.tokenizer is not None
    tags = ["chemistry", "chemscale"]
    front: dict[str, Any] = {"license": settings.license}
    if is_text:
        library = {"onnx": "onnx", "gguf": "gguf"}.get(what.form, "transformers")
        tags = ["chemistry", "molecules", what.tokenizer.representation.notation, "chemgpt", "chemscale"]
        front |= {"library_name": library, "pipeline_tag": "text-generation"}
    else:
        front |= {"library_name": "chemscale"}
        tags += ["interatomic-potential", str(what.facts.get("family"))]
    front |= {"tags": tags}
    if settings.datasets:
        front |= {"datasets": list(settings.datasets)}
    values = {
        k: v for k, v in _values(what.facts.get("losses") or {}).items() if v is not None and k in UNITS
    }
    if values:
        front |= {"metrics": list(values), "model-index": [_index(what, values, is_text)]}
    return front


def _index(what: Described, values: dict[str, float], is_text: bool) -> dict[str, Any]:
    """One model of the Hub's ``model-index``: losses on the validation part."""
    data = what.facts.get("data") or {}
    files = ", ".join(data.get("files") or []) or str(data.get("source") or "training data")
    task = {"type": "text-generation", "name": "Molecules as text"}
    if not is_text:
        task = {"type": "other", "name": "Energies and forces"}
    metrics = [{"type": key, "name": UNITS[key], "value": value} for key, value in values.items()]
    dataset = {"type": "custom", "name": f"validation part of {files} ({str(data.get('hash', ''))[:12]})"}
    return {"name": what.name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}


def _summary(what: Described) -> str:
    facts, parameters = what.facts, (what.facts.get("parameters") or {}).get("all")
    size = f", {parameters:,} parameters" if parameters else ""
    lines = []
    if what.tokenizer is None:
        lines.append(f"An interatomic potential ({facts.get('family')}{size}), made by chemscale.")
    else:
        kinds = {
            "gpt2": "An exact GPT-2 of a ChemGPT",
            "onnx": "ONNX graph of a ChemGPT",
            "gguf": "GGUF of a ChemGPT",
        }
        kind = kinds.get(what.form, "A GPT-Neo (ChemGPT)")
        version = what.tokenizer.representation
        notation = f"{version.title}{f' {version.selfies_version}' if version.selfies_version else ''}"
        lines.append(
            f"{kind} of molecules as {notation}{size}, {what.tokenizer.vocab_size} tokens, up to "
            f"{what.positions} positions. Made by chemscale."
        )
    if facts.get("repair"):
        lines.append(
            "Weights and vocabulary are of a published model. " + " ".join(facts["repair"].get("notes", []))
        )
    if subtract := (facts.get("data") or {}).get("subtract"):
        three = " with three-body terms" if subtract.get("three_body") else ""
        adds = "the file holds the network alone, to which it has to be added; chemscale's calculator does"
        lines.append(
            f"It learned labels from which dispersion was subtracted ({subtract['method']}{three} of "
            f"{subtract['functional']}): {adds}."
        )
    if what.proof:
        lines.append(what.proof)
    if facts.get("weights_sha256") and what.form != "hf":
        lines.append(f"Weights that it was made from: SHA-256 `{facts['weights_sha256']}`.")
    return "\n\n".join(lines)


def _data(data: dict[str, Any]) -> str:
    if not data:
        return "Not recorded in the folder that this was exported from."
    counts = data.get("counts") or {}
    rows: list[tuple[str, Any]] = [("files", ", ".join(data.get("files") or []) or data.get("source"))]
    if counts:
        dropped = counts.get("dropped") or {}
        rows += [
            ("training molecules", f"{counts['train']:,}" if "train" in counts else None),
            ("validation molecules", f"{counts['validation']:,}" if "validation" in counts else None),
            ("rows left out", ", ".join(f"{k}: {v:,}" for k, v in dropped.items()) or "none"),
        ]
    rows += [(key.replace("_", " "), data.get(key)) for key in ("stereo", "salts", "charge", "max_symbols")]
    rows += [(f"SHA-256 of {each['file']}", f"`{each['sha256']}`") for each in data.get("inputs") or []]
    rows += [("hash of all that training saw", f"`{data.get('hash')}`")]
    return _table(("", ""), rows)


def _tokenizer(what: Described) -> str:
    if what.tokenizer is None:
        return ""
    own = what.tokenizer
    version = own.representation
    specials = ", ".join(
        f"{name} `{own.token(number)}` ({number})"
        for name, number in (("pad", own.pad_id), ("begin", own.bos_id), ("end", own.eos_id))
    )
    return _table(
        ("", ""),
        [
            ("notation", f"{version.notation} {version.selfies_version or ''}".strip()),
            ("stereo", "in the vocabulary" if version.stereo else "none: strip it first"),
            ("tokens", f"{own.vocab_size}, of them {len(own.symbols)} symbols"),
            ("special tokens", specials),
            ("hash", f"`{own.hash}`"),
        ],
    )


def _training(facts: dict[str, Any]) -> str:
    training = facts.get("training")
    if not training:
        return "Not recorded in the folder that this was exported from."
    seen, compute = training.get("seen") or {}, training.get("compute") or {}
    optimizer, schedule = training.get("optimizer") or {}, training.get("schedule") or {}
    state = "" if facts.get("state") == "done" else f" (the run is {facts.get('state')})"
    rows: list[tuple[str, Any]] = [
        ("steps", f"{facts.get('step'):,} of {facts.get('planned_steps'):,}{state}"),
        *(
            (key.replace("_", " "), _number(seen.get(key)))
            for key in ("tokens", "molecules", "frames", "epochs")
        ),
        ("FLOPs as counted", _number(compute.get("flops"))),
        ("device", compute.get("device")),
        ("optimizer", _settings(optimizer)),
        ("schedule", _settings(schedule)),
        ("precision", training.get("precision")),
        ("seed", facts.get("seed")),
        ("started from", _parent(facts.get("parent"))),
        ("identity", f"`{facts.get('identity')}` of sweep {facts.get('sweep')}"),
        ("versions", _settings({k: v for k, v in (facts.get("versions") or {}).items() if k in _SHOWN})),
    ]
    return _table(("", ""), rows)


_SHOWN = ("chemscale", "torch", "rdkit", "selfies", "tokenizers")


def _parent(parent: Any) -> str | None:
    return f"{parent.get('name')} (`{parent.get('identity')}`)" if isinstance(parent, dict) else None


def _losses(losses: dict[str, Any]) -> str:
    values = _values(losses)
    if not values:
        return "No validation of these weights is recorded."
    rows = [
        (UNITS.get(key, key.replace("_", " ")), _number(value, lost=True)) for key, value in values.items()
    ]
    return f"On the validation part, at step {losses['step']:,}.\n\n" + _table(("", ""), rows)


def _values(losses: dict[str, Any]) -> dict[str, float | None]:
    return losses.get("values") or {}


def _law(law: dict[str, Any] | None) -> str:
    if not law:
        return ""
    unit, count = law.get("unit"), law.get("points")
    lines = [f"Fitted by chemscale to {count} runs of the sweep that this model is one of, in {unit}."]
    for name, each in (law.get("families") or {"": law}).items():
        shares = ", ".join(
            f"{key} = {_number(value)}{_interval((each.get('intervals') or {}).get(key), law.get('level'))}"
            for key, value in (each.get("parameters") or {}).items()
        )
        if shares:
            lines.append(f"{f'{name}: ' if name else ''}`{each.get('formula')}` with {shares}.")
    if law.get("why"):
        lines.append(str(law["why"]))
    return "\n\n".join(lines)


def _interval(pair: Any, level: Any) -> str:
    if not isinstance(pair, list) or len(pair) != 2:
        return " (no interval)"
    low, high = (("∞" if end is None else _number(end)) for end in pair)
    share = f", {level:.0%}" if isinstance(level, float) else ""
    return f" ({low} to {high}{share})"


def _metrics(metrics: dict[str, Any]) -> str:
    if not metrics:
        return "None are recorded. `python -m chemscale.evaluate` judges generated molecules."
    parts = []
    for name, values in metrics.items():
        parts.append(
            f"{name}:\n\n" + _table(("", ""), [(k, _number(v, lost=True)) for k, v in values.items()])
        )
    return "\n\n".join(parts)


def _license(settings: CardSettings) -> str:
    if settings.license == "unknown":
        return "Not stated. It is for those who trained the model, and for the terms of the data, to say."
    return f"{settings.license}, as stated by those who exported it."


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _number(value: Any, *, lost: bool = False) -> str | None:
    if value is None:
        return "not a number" if lost else None
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{int(value):,}" if abs(value) < 1e12 else f"{value:.4g}"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows if value not in (None, "")]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
