"""What is said of the files of a preparation: which were read, and which column of each."""

from __future__ import annotations

import logging
from typing import Any

from chemscale.molecules.corpus import Corpus

log = logging.getLogger(__name__)
SHOWN = 5


def log_files(path: str, files: int, left_out: list[str]) -> None:
    """Say how many files a folder gave, and which of it hold no molecules.

    Args:
        path: of the folder.
        files: that are read.
        left_out: names of those that are not.
    """
    if files > 1 or left_out:
        log.info("%d file%s of molecules in %s.", files, "" if files == 1 else "s", path)
    if left_out:
        log.info("  not read: %s", _listed(left_out))


def log_sources(corpus: Corpus) -> None:
    """Say which column of which file was read, and in which notation; files that were read alike once.

    Args:
        corpus: whose manifest has it; older ones do not.
    """
    if names := corpus.manifest.get("without_rows"):
        log.info("  without a row: %s", _listed(names))
    alike: dict[str, list[str]] = {}
    for source in corpus.manifest.get("sources", []):
        alike.setdefault(_described(source), []).append(source["file"])
    for described, names in list(alike.items())[:SHOWN]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log.info("  %s%s: %s", names[0], more, described)
    if len(alike) > SHOWN:
        log.info(
            "  … and %d files that were read in other ways (sources in manifest.json)", len(alike) - SHOWN
        )


def log_conditions(corpus: Corpus) -> None:
    """Say which conditions stand before the molecules, and of how many they are not known.

    Args:
        corpus: whose manifest has them, or has none.
    """
    kept = corpus.manifest["counts"]["kept"]
    for name, about in corpus.manifest.get("condition_values", {}).items():
        where = {"column": "a column", "descriptor": "computed by RDKit"}.get(about["from"], "Bemis-Murcko")
        limits = (
            f", {about['low']:.4g} … {about['high']:.4g} in {about['bins']} bins" if "bins" in about else ""
        )
        log.info("  condition %s (%s)%s: not known of %s of %s molecules", name, where, limits,
                 f"{about['unknown']:,}", f"{kept:,}")  # fmt: skip
        if wrong := about.get("cells without a number", 0):
            first = about["examples"][0]
            at = f"{first['file']}:{first['line']}"
            log.info("    %s cells hold no number (first: %r, %s)", f"{wrong:,}", first["cell"], at)
        if several := about.get("molecules with different numbers", 0):
            log.info("    %s molecules have several numbers: the median is taken", f"{several:,}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _described(source: dict[str, Any]) -> str:
    if source["notation"] == "molblock":
        return "the structure of each record"
    column = f"column {source['column']!r}" if source["header"] else f"column {source['number']} (no header)"
    notation = "SELFIES, decoded" if source["notation"] == "selfies" else "SMILES"
    encoding = source["encoding"]
    coded = f", {encoding}" if encoding not in (None, "utf-8-sig") else ""
    return f"{column} read as {notation} ({source['why']}{coded})"
