"""What reading a file means for each kind of data; what is wrong is returned in words."""

import functools
import tempfile
from pathlib import Path

import numpy as np

from chemscale.laws.data.learning_curves import curves_of
from chemscale.laws.data.points import PointsError
from chemscale.laws.data.reading import read_table
from chemscale.molecules.preparation.dropped import read_dropped_rows
from chemscale.molecules.preparation.sources import Reading, SourceError
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.preparation.stages import Chunk, part_path, standardize_chunk
from chemscale.molecules.preparation.standardize import Policy
from chemscale.molecules.representation.encoding import Encoder
from chemscale.molecules.tokenizers.opening import tokenizer_of
from chemscale.probing.data import ProbeError, read_labelled
from chemscale.structures.blocks import SourceError as FrameError
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.frame_files import frame_files
from chemscale.structures.units import UnitError

COLUMNS = {"N": "params", "D": "tokens", "loss": "val_loss"}


def molecules(path):
    """Every row is kept or dropped, and every dropped one has a place."""
    reading = Reading(find_files(str(path))[0])
    rows = 0
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        for number, chunk in reading.chunks(64):
            done = standardize_chunk(Chunk(number, chunk, Policy(), folder))
            part = part_path(folder, number)
            dropped = list(read_dropped_rows(part.with_suffix(".dropped")))
            if len(np.load(part)) + len(dropped) != len(chunk) or done != len(chunk):
                return f"{len(chunk)} rows, {len(np.load(part))} kept, {len(dropped)} dropped"
            for row in dropped:
                reading.place(row[0])
            rows += len(chunk)
    if path.suffix in (".smi", ".txt", ".tsv") and (problem := _lost_lines(path, reading)):
        return problem
    if rows != sum(source["rows"] for source in reading.describe()):
        return f"{rows} rows, but {reading.describe()}"
    return None


def _lost_lines(path, reading):
    """Whether a list has other lines than rows, counted here once more."""
    (source,) = reading.describe()
    if source["delimiter"] not in (" ", "\t") or path.read_bytes().startswith(b"sep="):
        return None
    with open(path, encoding=source["encoding"]) as file:
        lines = sum(1 for _ in file)
    if lines != source["rows"] + source["header"]:
        return f"{lines} lines, but {source}"
    return None


def structures(path):
    """Rows count up, labels are finite or NaN, and no frame is read twice."""
    run = path.with_name("w-pos-1.xyz")
    path = run if run.exists() else path
    files, _ = frame_files(str(path))
    seen = []
    for block in open_sources(files, {}).blocks():
        if (
            not np.isfinite(block.positions).all()
            or np.isinf(block.energies).any()
            or np.isinf(block.forces).any()
        ):
            return "a coordinate or label that is no number"
        seen += block.rows.tolist()
    if len(set(seen)) != len(seen) or any(row < 0 for row in seen):
        return f"rows {seen[:20]}"
    return None


@functools.cache
def _encoder():
    symbols = [
        "[C]",
        "[=C]",
        "[O]",
        "[=O]",
        "[N]",
        "[Ring1]",
        "[=Branch1]",
        "[Branch1]",
        "[=N]",
        "[C@H1]",
        "[C@@H1]",
    ]
    tokenizer = tokenizer_of(symbols, "selfies", stereo=True)
    return Encoder.of(tokenizer, 64)


def labels(path):
    """Every row is read or left out for a reason."""
    found = read_labelled(path, _encoder(), silent=True)
    if len(found) + sum(found.reasons.values()) != found.total:
        return f"{found.total} rows, {len(found)} read, {found.reasons}"
    return None


def laws(path):
    """Every row is a point, used or not, with its reason."""
    table = read_table(path, COLUMNS)
    for point in table.points.points:
        if point.used != (not point.reason):
            return f"{point}"
        if point.used and not all(map(np.isfinite, (*point.sizes.values(), *point.losses.values()))):
            return f"{point} is used"
    return None


def curves(path):
    """Rows of learning curves."""
    columns = {**COLUMNS, "run": "run", "step": "step"}
    curves_of(read_table(path, columns), columns)


READERS = {
    "molecules": (molecules, (SourceError,)),
    "structures": (structures, (FrameError, UnitError)),
    "labels": (labels, (SourceError, ProbeError)),
    "laws": (laws, (PointsError,)),
    "curves": (curves, (PointsError,)),
}
"""Reader of each kind of data, and the errors that it may raise."""
