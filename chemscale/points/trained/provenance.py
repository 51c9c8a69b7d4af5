"""What is known of a trained model, as one table that travels with it: ``provenance.json``.

Nothing in it names a place on the machine that trained the model: files by their names, data by their hashes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from chemscale.common.files import write_json
from chemscale.molecules.corpus import MANIFEST, sha256
from chemscale.objects.address import local_place
from chemscale.records import RECORD_NAME, RunRecord
from chemscale.records.record import SEEN

FILE = "provenance.json"
SCHEMA_VERSION = 1
LAW = Path("law") / "law.json"
POLICY = ("stereo", "salts", "charge", "max_symbols", "max_heavy_atoms")
LAW_KEYS = ("kind", "axis", "unit", "formula", "parameters", "intervals", "level", "why")


def facts_of_run(run: Path, record: RunRecord, step: int, folder: Path) -> dict[str, Any]:
    """All that a run, its corpus and the law beside it say of a model.

    Args:
        run: directory of the run.
        record: of the run.
        step: of the weights.
        folder: with the weights.
    """
    raw = json.loads((run / RECORD_NAME).read_text())
    config = record.config
    return {
        "schema_version": SCHEMA_VERSION,
        "name": record.name,
        "family": record.family,
        "identity": record.identity,
        "sweep": record.sweep,
        "state": record.state.value,
        "step": step,
        "planned_steps": record.planned_steps,
        "seed": record.seed,
        "weights_sha256": sha256(folder / "model.safetensors"),
        "parameters": raw["parameters"],
        "data": {
            "hash": record.data_hash,
            **_data_settings(config.get("data") or {}),
            **_corpus(config, record.data_hash),
        },
        "training": {
            **{key: config.get(key) for key in ("budget", "batch", "optimizer", "schedule", "precision")},
            **_spent(run, record, raw, step),
        },
        "losses": _losses(run, record, step),
        "metrics": _metrics(run, raw),
        "law": _law(run),
        "parent": raw.get("parent"),
        "versions": record.versions,
        "git_revision": record.git_revision,
    }


def facts_of_folder(folder: Path) -> dict[str, Any]:
    """What a saved folder says of itself; little where it was not exported.

    Args:
        folder: with the model.
    """
    try:
        known = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        known = {}
    known = known if isinstance(known, dict) else {}
    path, weights = folder / "config.json", folder / "model.safetensors"
    config = json.loads(path.read_text()) if path.is_file() else {}
    mine = config.get("chemscale") or {}
    family = "chemgpt" if config.get("model_type") else (config.get("model") or {}).get("family")
    base = {"schema_version": SCHEMA_VERSION, "name": mine.get("name"), "family": family}
    return {**base, **known, **({"weights_sha256": sha256(weights)} if weights.is_file() else {})}


def is_export(folder: Path) -> bool:
    """Whether an export wrote a folder, in any form.

    Args:
        folder: that may be one.
    """
    return (folder / FILE).is_file() and (folder / "README.md").is_file()


def published_facts(name: str, folder: Path, **repair: Any) -> dict[str, Any]:
    """What is known of a repaired download.

    Args:
        name: of its folder.
        folder: with the repaired weights.
        repair: how it was repaired.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "family": "chemgpt",
        "weights_sha256": sha256(folder / "model.safetensors"),
        "repair": repair,
    }


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``provenance.json``.

    Args:
        folder: of the model.
        facts: content.
    """
    write_json(folder / FILE, facts)


def _data_settings(data: dict[str, Any]) -> dict[str, Any]:
    kept = {key: data[key] for key in (*POLICY, "source", "molecules", "block", "notation") if key in data}
    path = data.get("path")
    paths = [path] if isinstance(path, str) else list(path or [])
    if data.get("subtract"):
        kept["subtract"] = data["subtract"]
    return {**kept, "files": [Path(str(each)).name for each in paths]}


def _corpus(config: dict[str, Any], data_hash: str) -> dict[str, Any]:
    """Counts and hashes of the corpus, where it still lies where it was prepared."""
    for path in sorted(local_place(str(config.get("corpora", ""))).glob(f"*/{MANIFEST}")):
        try:
            manifest = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if manifest.get("corpus_hash") == data_hash:
            inputs = [
                {key: each.get(key) for key in ("file", "sha256", "bytes")}
                for each in manifest.get("inputs") or []
            ]
            return {
                "inputs": [{**each, "file": Path(str(each["file"])).name} for each in inputs],
                "counts": manifest.get("counts"),
                "tools": manifest.get("tools"),
                "validation_fraction": manifest.get("validation_fraction"),
            }
    return {}


def _losses(run: Path, record: RunRecord, step: int) -> dict[str, Any]:
    """The validation of the exported step, where there was one; never that of another step."""
    rows = [loss for loss in (record.final, record.best) if loss is not None and loss.step == step]
    if rows:
        return {"step": step, "values": _numbers(rows[0].values)}
    row = _row(run, record, step, "validation")
    values = {key: value for key, value in row.items() if key not in (*SEEN, "step", "flops")}
    return {"step": step, "values": _numbers(values)} if values else {}


def _spent(run: Path, record: RunRecord, raw: dict[str, Any], step: int) -> dict[str, Any]:
    """Data and compute of the exported step: of the whole run only where that is its last."""
    if step == record.data.steps:
        return {"seen": {key: v for key, v in raw["data"].items() if v}, "compute": raw["compute"]}
    row = _row(run, record, step, "train") or _row(run, record, step, "validation")
    seen = {key: row[key] for key in SEEN if row.get(key)}
    return {"seen": {"steps": step, **seen}, "compute": {"flops": row.get("flops")}}


def _row(run: Path, record: RunRecord, step: int, kind: str) -> dict[str, Any]:
    """Line of the curve of a step and kind; empty where there is none."""
    rows = reversed(record.curve_rows(run))
    return next((row for row in rows if (row.get("step"), row.get("kind")) == (step, kind)), {})


def _metrics(run: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Numbers on generated molecules: those in the record, and those of evaluations kept in the run."""
    found: dict[str, Any] = {}
    generated = raw.get("generation")
    rows = generated if isinstance(generated, list) else [generated]
    last = next((row for row in reversed(rows) if isinstance(row, dict)), None)
    if last:
        found["generation"] = _numbers(_flat(last))
    for path in sorted([*run.glob("evaluation*.json"), *run.glob("probe-*.json")]):
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and (numbers := _numbers(_flat(content))):
            found[path.stem] = numbers
    return found


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Nested tables of one or two levels as one, names joined by a space."""
    out: dict[str, Any] = {}
    for key, value in content.items():
        inner = _flat(value) if isinstance(value, dict) else None
        out |= {key: value} if inner is None else {f"{key} {name}": v for name, v in inner.items()}
    return out


def _numbers(values: dict[str, Any]) -> dict[str, float | None]:
    """Of a table what is a number; what is not finite is None."""
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {key: float(value) if math.isfinite(value) else None for key, value in numbers.items()}


def _law(run: Path) -> dict[str, Any] | None:
    """The law of the sweep that the run is part of, as ``fit`` left it beside the runs."""
    try:
        law = json.loads((run.parent / LAW).read_text())
    except (OSError, ValueError):
        return None
    points = (law.get("data") or {}).get("points") or []
    kept = {key: law.get(key) for key in LAW_KEYS if law.get(key) is not None}
    families = law.get("rungs")
    if isinstance(families, dict):
        kept["families"] = {
            name: {key: each.get(key) for key in ("formula", "parameters", "intervals") if each.get(key)}
            for name, each in families.items()
        }
    return {**kept, "points": len(points)}
