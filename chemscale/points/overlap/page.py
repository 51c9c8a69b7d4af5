"""The page of a comparison, and the files for machines beside it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rdkit import Chem, rdBase

from chemscale.common.files import atomic_write, write_json
from chemscale.laws import reports as report_pages
from chemscale.molecules.metrics import page as evaluation_pages
from chemscale.molecules.metrics.page.drawings import molecule_image
from chemscale.molecules.metrics.page.histograms import histogram_svg
from chemscale.points import data_report as data_pages
from chemscale.points.data_report.page import number, percent, plain

PAGE, FIGURES, ROWS, CLEAN_ROWS = "overlap.html", "overlap.json", "overlap.csv", "clean.csv"
TEMPLATES = {"molecules": "molecules_overlap.html.j2", "structures": "structures_overlap.html.j2"}
DRAWN = 400
"""Characters of a SMILES up to which it is drawn."""


def write_page(folder: Path, content: dict[str, Any]) -> Path:
    """Write the page and the file for machines; the page loads nothing from elsewhere.

    Args:
        folder: that is written to.
        content: of the comparison.

    Returns:
        The page.
    """
    write_json(folder / FIGURES, content)
    with atomic_write(folder / PAGE) as file:
        file.write(render(content))
    return folder / PAGE


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Write a table, whole or not at all; how many rows it has.

    Args:
        path: of the CSV file.
        header: names of the columns.
        rows: their cells.
    """
    written = 0
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            writer.writerow(row)
            written += 1
    return written


def render(content: dict[str, Any]) -> str:
    """The page of a comparison.

    Args:
        content: of the comparison.
    """
    packages = (__package__, data_pages.__name__, evaluation_pages.__name__, report_pages.__name__)
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(str(name)) for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "number": number, "percent": percent, "plain": plain}
    labels = short_names([each["name"] for each in content["benchmarks"]])
    return environment.get_template(TEMPLATES[content["kind"]]).render(
        content=content,
        labels=labels,
        drawing=drawing,
        histogram=_histogram,
        rows=ROWS,
        clean=CLEAN_ROWS,
        figures=FIGURES,
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Names without the folders in them, where these do not tell two of them apart.

    Args:
        names: as a person gave them.
    """
    short = [re.sub(r"\S*/(?=[^/\s])", "", name.rstrip("/")) for name in names]
    return [each if short.count(each) == 1 else name for each, name in zip(short, names, strict=True)]


def _histogram(found: dict[str, Any]) -> str:
    return histogram_svg(np.array(found["edges"]), None, [np.array(found["shares"])], whole=False)


def drawing(smiles: str) -> str:
    """Data address of a drawing of a molecule; empty where it is too large to be one.

    Args:
        smiles: canonical.
    """
    if len(smiles) > DRAWN:
        return ""
    with rdBase.BlockLogs():
        try:
            return molecule_image(smiles) if Chem.MolFromSmiles(smiles) is not None else ""
        except (ValueError, RuntimeError):
            return ""
