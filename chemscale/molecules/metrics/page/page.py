"""The page of an evaluation."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from chemscale.common.files import atomic_write
from chemscale.molecules.descriptors import DESCRIPTORS
from chemscale.molecules.metrics.features import PROPERTIES, Features
from chemscale.molecules.metrics.intervals import Value
from chemscale.molecules.metrics.page.drawings import molecule_image
from chemscale.molecules.metrics.page.histograms import distribution_svg
from chemscale.molecules.metrics.sampled.samples import MEANINGS, Fate
from chemscale.molecules.metrics.similarity import nearest
from chemscale.molecules.metrics.table import METRICS

SHOWN = 12
"""Molecules of a row of drawings."""
SCAFFOLDS = 6
NEAREST = 2000
"""Molecules whose nearest reference molecule is looked for."""


def write_page(path: Path, content: dict[str, Any], sampled: Features, reference: Features | None) -> None:
    """Write the page of an evaluation; it loads nothing from elsewhere.

    Args:
        path: of the page.
        content: of ``metrics.json``.
        sampled: the valid molecules.
        reference: what they are compared with; None for nothing.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__), autoescape=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("evaluation.html.j2").render(
        content=content,
        rows=_rows(content),
        fates=_fates(content),
        distributions=_distributions(content, sampled, reference),
        galleries=_galleries(sampled, reference),
        scaffolds=_scaffolds(sampled, reference) if reference is not None else [],
        made=datetime.datetime.now(datetime.UTC).strftime("%d %B %Y %H:%M UTC"),
    )
    with atomic_write(path) as file:
        file.write(text)


def _value(raw: dict[str, Any] | None) -> Value | None:
    if raw is None:
        return None
    value, low, high = (math.nan if raw[key] is None else float(raw[key]) for key in ("value", "low", "high"))
    return Value(value, low, high, raw["of"])


def _rows(content: dict[str, Any]) -> list[dict[str, str]]:
    rows = []
    for metric in METRICS.values():
        if metric.name in content["metrics"]:
            value, own = _value(content["metrics"][metric.name]), _value(content["own"].get(metric.name))
            rows.append(
                {
                    "title": metric.title,
                    "value": metric.show(value),
                    "interval": metric.show_interval(value),
                    "own": metric.show(own) if own is not None else "",
                    "better": {"more": "↑", "less": "↓"}.get(metric.better, ""),
                    "meaning": metric.meaning,
                }
            )
    return rows


def _fates(content: dict[str, Any]) -> list[dict[str, Any]]:
    total = max(1, content["sequences"])
    return [
        {"name": fate.value, "count": count, "percent": 100 * count / total, "meaning": MEANINGS[fate]}
        for fate in Fate
        if (count := content["fates"].get(fate.value, 0))
    ]


def _distributions(
    content: dict[str, Any], sampled: Features, reference: Features | None
) -> list[dict[str, str]]:
    found = []
    for i, name in enumerate(PROPERTIES):
        other = None if reference is None else reference.properties[:, i]
        distance = _value(content["metrics"].get(f"wasserstein_{name}"))
        metric = METRICS[f"wasserstein_{name}"]
        found.append(
            {
                "name": name,
                "meaning": DESCRIPTORS[name].meaning,
                "distance": metric.show(distance) if distance else "",
                "interval": metric.show_interval(distance),
                "svg": distribution_svg(sampled.properties[:, i], other, whole=DESCRIPTORS[name].whole),
            }
        )
    return found


def _galleries(sampled: Features, reference: Features | None) -> list[dict[str, Any]]:
    """Drawings: the first of the sample, those farthest from the reference, and reference molecules."""
    first = np.arange(min(SHOWN, len(sampled)))
    if reference is None or not len(reference):
        return [_gallery("The first molecules of the sample", sampled, first, None)]
    looked_at = sampled.bits[:NEAREST]
    best, _ = nearest(looked_at, reference.bits)
    distinct = list({sampled.smiles[i]: int(i) for i in np.argsort(best, kind="stable")[::-1]}.values())[::-1]
    farthest = np.array(sorted(distinct, key=lambda i: best[i])[: SHOWN // 2], dtype=np.int64)
    of = f"of the first {len(looked_at):,}" if len(sampled) > len(looked_at) else "of all"
    return [
        _gallery("The first molecules of the sample", sampled, first, best),
        _gallery("Molecules of the reference", reference, np.arange(min(SHOWN, len(reference))), None),
        _gallery(f"Farthest from the reference, {of}", sampled, farthest, best),
    ]


def _gallery(title: str, features: Features, rows: np.ndarray, near: np.ndarray | None) -> dict[str, Any]:
    return {
        "title": title,
        "images": [
            {
                "source": molecule_image(features.smiles[i]),
                "smiles": features.smiles[i],
                "caption": f"nearest {near[i]:.2f}" if near is not None else "",
                "numbers": f"QED {features.properties[i, PROPERTIES.index('QED')]:.2f} · SA "
                f"{features.properties[i, PROPERTIES.index('SA')]:.1f}",
            }
            for i in map(int, rows)
        ],
    }


def _scaffolds(sampled: Features, reference: Features) -> list[dict[str, Any]]:
    """Scaffolds whose shares differ most."""
    mine, theirs = (Counter(filter(None, each.scaffolds)) for each in (sampled, reference))
    differences = {
        name: mine[name] / len(sampled) - theirs[name] / len(reference) for name in {*mine, *theirs}
    }
    chosen = sorted(sorted(differences), key=lambda name: -abs(differences[name]))[:SCAFFOLDS]
    return [
        {
            "source": molecule_image(name),
            "smiles": name,
            "sample": f"{100 * mine[name] / len(sampled):.2f} %",
            "reference": f"{100 * theirs[name] / len(reference):.2f} %",
        }
        for name in chosen
    ]
