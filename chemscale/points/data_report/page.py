"""The page of prepared data, and the file for machines beside it."""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path
from typing import Any

import jinja2
from rdkit import Chem, rdBase

from chemscale.common.files import atomic_write, write_json
from chemscale.laws import reports as report_pages
from chemscale.molecules.metrics import page as evaluation_pages
from chemscale.molecules.metrics.page.drawings import molecule_image
from chemscale.points.data_report.figures import coverage_svg, parts_svg
from chemscale.points.data_report.molecules import may_be_drawn
from chemscale.points.data_report.values import KEPT

PAGE, FIGURES = "report.html", "report.json"
TEMPLATES = {"molecules": "molecules.html.j2", "structures": "structures.html.j2"}
PARTS = {"train": "training", "validation": "validation", "test": "test"}
SHOWN_FILES = 8


class ReportError(ValueError):
    """A report that cannot be written; the message says where."""


def write_report(folder: Path, content: dict[str, Any]) -> Path:
    """Write the page and the file for machines; the page loads nothing from elsewhere.

    The same content gives the same bytes.

    Args:
        folder: of the corpus or the store.
        content: of the report.

    Returns:
        The page.

    Raises:
        ReportError: nothing can be written there.
    """
    text = render(content)
    try:
        write_json(folder / FIGURES, content)
        with atomic_write(folder / PAGE) as file:
            file.write(text)
    except OSError as error:
        raise ReportError(
            f"{folder}: the report cannot be written there ({error.strerror}). Prepare the data where "
            "you may write: corpora=FOLDER for molecules, structures=FOLDER for frames."
        ) from None
    return folder / PAGE


def render(content: dict[str, Any]) -> str:
    """The page of a report.

    Args:
        content: of the report.
    """
    packages = (__package__, evaluation_pages.__name__, report_pages.__name__)
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(str(name)) for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "number": number, "percent": percent, "plain": plain}
    return environment.get_template(TEMPLATES[content["kind"]]).render(
        content=content,
        part_names=PARTS,
        plots=[(each, parts_svg(each)) for each in content["distributions"]],
        coverage=_coverage(content),
        drawing=drawing,
        shown_files=SHOWN_FILES,
        quantiles=("0.05", "0.5", "0.95"),
        kept=KEPT,
    )


def _coverage(content: dict[str, Any]) -> str:
    if content["kind"] != "molecules":
        return ""
    curve = content["vocabulary"]["coverage"]
    return coverage_svg(curve["symbols"], {part: curve[part] for part in ("train", "validation")})


def number(value: float | None, deviation: float = math.nan) -> str:
    """A number of four digits, or of as many as its kind varies in; a dash where there is none.

    Args:
        value: any.
        deviation: standard deviation of such numbers; NaN or 0 where it says nothing.
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if value == int(value) and size < 1e9:
        text = f"{value:,.0f}"
    elif deviation > 0 and size > 10 * deviation and size < 1e9:
        text = f"{value:,.{min(9, max(0, 2 - math.floor(math.log10(deviation))))}f}"
    elif 1e4 <= size < 1e9:
        text = f"{value:,.0f}"
    else:
        text = f"{value:,.4g}" if size >= 1e-3 else f"{value:.3g}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    """A share of a whole in per cent.

    Args:
        share: 0 to 1.
    """
    value = 100 * share
    return f"{value:.3g} %" if value < 99.95 or share == 1 else f"{value:.5g} %"


def plain(text: str) -> str:
    """A text of strangers as one line that shows what is in it: marks that act on a page are spelled out.

    Args:
        text: whatever a file held.
    """
    return "".join(
        letter if letter.isprintable() and unicodedata.category(letter) != "Cf" else ascii(letter)[1:-1]
        for letter in text
    )


def drawing(reason: str, example: dict[str, Any]) -> str:
    """Data address of a drawing of a dropped row; empty where its text is no molecule.

    Args:
        reason: why it was dropped.
        example: of the report.
    """
    text = example["text"]
    if example["characters"] != len(text) or not may_be_drawn(reason, text):
        return ""
    with rdBase.BlockLogs():
        try:
            molecule = Chem.MolFromSmiles(text)
            return "" if molecule is None or not molecule.GetNumAtoms() else molecule_image(text)
        except (ValueError, RuntimeError):
            return ""
