"""The table of docs/howto/bad-input.md: each file is made and read, and says what stands there."""

import gzip
import io
import json
import re
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from chemscale.laws.data.reading import read_table
from chemscale.molecules.preparation.build import build_corpus
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.sources.combined import open_sources
from chemscale.structures.sources.frame_files import frame_files
from tests.helpers.fuzzing.mutations import HTML
from tests.helpers.fuzzing.readers import COLUMNS, labels
from tests.helpers.molecule_files import put
from tests.helpers.paths import ROOT
from tests.helpers.sources import extxyz, molecule, springs

PAGE = (ROOT / "docs/howto/bad-input.md").read_text()
ROWS = dict(
    re.findall(
        r"^\| ([^|]+?) \| (.+) \|$", PAGE.split("| input | what you see |\n|---|---|\n")[1], re.MULTILINE
    )
)
GOOD = [f"{'C' * n}{end}" for n in range(1, 30) for end in ("O", "N")]
POLICY = SplitPolicy("frame", 0.2, 0.0, 0)
CSV = "smiles,y\n" + "".join(f"{text},1\n" for text in GOOD)
RUNS = "params,tokens,val_loss\n" + "".join(f"{n}e6,1e8,{3 + 1 / n}\n" for n in range(1, 6))


class Case:
    """A file, what reads it, and what came of it."""

    def __init__(self, folder):
        self.folder = folder

    def molecules(self, name, content):
        corpus = build_corpus([put(self.folder, name, content)], self.folder / "corpus", workers=1)
        counts = corpus.manifest["counts"]
        assert counts["rows"] == counts["kept"] + sum(counts["dropped"].values())
        return "; ".join(f"{number} {reason}" for reason, number in counts["dropped"].items())

    def good(self, *lines):
        return self.molecules("a.smi", "\n".join([*GOOD, *lines]) + "\n")

    def frames(self, name, content=None):
        if content is not None:
            put(self.folder, name, content)
        files, _ = frame_files(str(self.folder / name))
        store = build_store(open_sources(files, {}), self.folder / "store", POLICY)
        return " ".join(store.manifest["notes"])

    def xyz(self, change=lambda text: text, **info):
        made = [molecule(0.7 + i / 100, **{"REF_energy": float(i), **info}) for i in range(8)]
        path = extxyz(self.folder / "a.extxyz", made)
        return self.frames("a.extxyz", change(path.read_text()))

    def law(self, content, name="runs.csv"):
        return read_table(put(self.folder, name, content), COLUMNS).points.left_out

    def zipped(self, members):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return sink.getvalue()

    def npz(self, header=False):
        positions, energies, forces = springs(30)
        sink = io.BytesIO()
        np.savez(sink, z=np.array([1, 1]), R=positions, E=energies, F=forces)
        if not header:
            return self.frames("a.npz", sink.getvalue()[:-300])
        with zipfile.ZipFile(io.BytesIO(sink.getvalue())) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["E.npy"] = members["E.npy"].replace(b"(30,)", b"(90,)")
        members["R.npy"] = members["R.npy"].replace(b"(30, 2", b"(90, 2")
        members["F.npy"] = members["F.npy"].replace(b"(30, 2", b"(90, 2")
        return self.frames("a.npz", self.zipped(members))

    def unwritten(self):
        with h5py.File(self.folder / "a.h5", "w") as file:
            file["A/species"], file["A/coordinates"] = [1, 1], np.ones((6, 2, 3))
            file["A/energies"] = np.ones(6)
            file.create_dataset("A/forces", (6, 2, 3), "f8", chunks=(2, 2, 3))[:2] = 1
        return self.frames("a.h5")

    def parquet(self):
        sink = io.BytesIO()
        pa.parquet.write_table(pa.table({"smiles": GOOD}), sink)
        return self.molecules("a.parquet", sink.getvalue()[:-20])

    def dataset(self):
        folder = self.folder / "set"
        put(folder, "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        return self.frames("set")


CASES = {
    "an empty file of molecules": lambda c: c.molecules("a.smi", ""),
    "an empty file of structures": lambda c: c.frames("a.extxyz", ""),
    "an empty table of runs": lambda c: c.law(""),
    "a web page for molecules": lambda c: c.molecules("a.csv", HTML),
    "a web page for structures": lambda c: c.frames("a.extxyz", HTML),
    "a web page for runs": lambda c: c.law(HTML),
    "a gzip that was cut short": lambda c: c.molecules("a.csv.gz", gzip.compress(CSV.encode())[:-20]),
    "a Parquet file that was cut short": lambda c: c.parquet(),
    "extended XYZ that was cut short": lambda c: c.xyz(lambda text: text[: text.rindex("\nH") + 1]),
    "a blank line between frames": lambda c: c.xyz(lambda text: text.replace("\n2\n", "\n\n2\n", 1)),
    "an npz that was cut short": lambda c: c.npz(),
    "an npz that claims more than it has": lambda c: c.npz(header=True),
    "HDF5 whose writer was interrupted": lambda c: c.unwritten(),
    "a folder of `datasets` that lacks a shard": lambda c: c.dataset(),
    "a line without an end (a bomb)": lambda c: c.molecules("a.smi.gz", gzip.compress(b"C" * (65 << 20), 1)),
    "a line of 10 MB": lambda c: c.good("C" * (10 << 20)),
    "NUL bytes": lambda c: c.good("CC\0O"),
    "two encodings in one file": lambda c: c.molecules("a.csv", CSV.encode() + b"CCO,\xe9\n"),
    "a quote that does not close": lambda c: c.molecules("a.csv", CSV + '"CCO,1\nCCN,2\n'),
    "a cell too many": lambda c: c.molecules(
        "a.csv", "y,smiles\n" + "".join(f"1,{t}\n" for t in GOOD) + "1,2,x\n"
    ),
    "the same molecule twice": lambda c: c.good("CCCO", "OCCC"),
    "no molecule": lambda c: c.good("not a molecule", "C1CC"),
    "an archive within an archive": lambda c: c.molecules(
        "a.zip", c.zipped({"b.zip": c.zipped({"a.smi": CSV})})
    ),
    "an unknown element": lambda c: c.xyz(lambda text: text.replace("\nH ", "\nQx ", 1)),
    "coordinates that are no numbers": lambda c: c.xyz(
        lambda text: re.sub(r"\nH +\S+", "\nH nan", text, count=1)
    ),
    "labels that are no numbers": lambda c: c.xyz(
        lambda text: text.replace("REF_energy=3.0", "REF_energy=nan")
    ),
    "a loss of NaN": lambda c: c.law(RUNS + "9e6,1e8,nan\n"),
    "a row of runs with a cell too many": lambda c: c.law(RUNS + "9e6,1e8,3,4\n"),
    "JSON nested without an end": lambda c: c.law("[" * 100_000, "runs.json"),
    "a label that is no number": lambda c: labels(
        put(c.folder, "labels.csv", "smiles,y\nCCO,1\nCCN,2\nCCC,high\n")
    ),
}


def test_every_row_of_the_page_is_tried():
    assert list(ROWS) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_says_what_the_page_says(name, tmp_path):
    try:
        said = CASES[name](Case(tmp_path))
    except ValueError as error:
        said = str(error)
        assert len(said) < 1000
    said = str(said).replace(f"{tmp_path}/", "")
    for part in re.findall(r"`([^`]*)`", ROWS[name].replace("``", "")):
        pattern = ".*".join(map(re.escape, part.split(" … ")))
        assert re.search(pattern, said), f"{part!r} is not in {said!r}"
