"""Files people have, and files that are no files of SMILES."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chemscale.molecules.preparation.sources import Source, SourceError
from chemscale.molecules.preparation.sources.reading import ChosenRows, Reading
from tests.helpers.molecule_files import put

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C[C@H](N)C(=O)O", "[Na+].[Cl-]"]


def write(folder, name, text):
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def read(path, column=None):
    return [text for _, text in Source(path, column)]


def table(rows, delimiter, header):
    lines = [delimiter.join(header)] if header else []
    return "\n".join([*lines, *(delimiter.join(row) for row in rows)]) + "\n"


@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize("header", [None, ["smiles"]])
@pytest.mark.parametrize("kind", ["smi", "txt", "csv", "tsv"])
def test_a_plain_list_is_read(tmp_path, kind, header, gz):
    path = write(tmp_path, f"m.{kind}{gz}", table([[s] for s in SMILES], "\t", header))
    assert read(path) == SMILES


@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("csv", ";"), ("tsv", "\t"), ("smi", " ")])
@pytest.mark.parametrize("header", [None, ["id", "SMILES", "note"], ["id", "structure", "note"]])
def test_the_column_of_smiles_is_found(tmp_path, kind, delimiter, header):
    rows = [[f"Z{i}", s, "C"] for i, s in enumerate(SMILES)]
    assert read(write(tmp_path, f"m.{kind}", table(rows, delimiter, header))) == SMILES


def test_a_column_can_be_named_or_numbered(tmp_path):
    rows = [[s, "CCCC", s] for s in SMILES]
    path = write(tmp_path, "m.csv", table(rows, ",", ["a", "b", "c"]))
    assert read(path, "b") == ["CCCC"] * 5
    assert read(path, 2) == SMILES
    assert read(path, "2") == SMILES


def test_json_lines_and_parquet_are_read(tmp_path):
    path = write(
        tmp_path, "m.jsonl", "".join(json.dumps({"id": i, "smiles": s}) + "\n" for i, s in enumerate(SMILES))
    )
    assert read(path) == SMILES
    pq.write_table(pa.table({"id": [*range(5)], "mol_text": SMILES}), tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet") == SMILES


def test_row_numbers_are_those_of_the_file(tmp_path):
    path = write(tmp_path, "m.csv", "id,smiles\n1,CCO\n2,CCN\n")
    assert list(Source(path)) == [(2, "CCO"), (3, "CCN")]


def test_a_bad_row_is_handed_on_and_not_fatal(tmp_path):
    path = write(tmp_path, "m.csv", "id,smiles\n1,CCO\n2,nonsense\n3\n4,CCN\n")
    assert read(path) == ["CCO", "nonsense", "", "CCN"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prose.txt", "I can not be read as a molecule\nC is a letter of the alphabet\nO is one as well\n"),
        ("letters.csv", "grade\nC\nC\nN\nO\n"),
        ("sequence.txt", ">sp|P1\nMKTAYIAKQRQISFVKSHFSRQ\nLEERLGLIEVQAPILSRVGDGT\n"),
        ("numbers.csv", "id,mass\n1,180.2\n2,46.1\n"),
        ("empty.smi", ""),
        ("header.csv", "smiles\n"),
        ("broken.jsonl", "{not json\n"),
    ],
)
def test_a_file_that_is_no_file_of_smiles_is_refused_by_name(tmp_path, name, text):
    with pytest.raises(SourceError, match=name):
        Source(write(tmp_path, name, text))


def test_binary_and_missing_files_are_refused(tmp_path):
    (tmp_path / "x.smi").write_bytes(b"\x7fELF\0\0\0\1")
    with pytest.raises(SourceError, match="binary"):
        Source(tmp_path / "x.smi")
    (tmp_path / "x.csv.gz").write_bytes(b"not gzip at all")
    with pytest.raises(SourceError, match="not a readable"):
        Source(tmp_path / "x.csv.gz")
    with pytest.raises(SourceError, match="no such file"):
        Source(tmp_path / "absent.csv")


def test_a_wrong_column_is_named_with_what_is_there(tmp_path):
    path = write(tmp_path, "m.csv", "id,smiles\n1,CCO\n")
    with pytest.raises(SourceError, match=r"'structure'.*id \| smiles"):
        Source(path, "structure")
    with pytest.raises(SourceError, match="few SMILES"):
        Source(path, "id")


def three_files(folder):
    """Of three rows each, numbered on."""
    for n in range(3):
        rows = "".join(f"{'C' * (3 * n + i + 1)}O,{'test' if i else 'train'}\n" for i in range(3))
        put(folder, f"{n}.csv", f"smiles,part\n{rows}")
    return sorted(folder.glob("*.csv"))


@pytest.mark.parametrize("size", [2, 3, 4, 9, 20])
def test_some_chunks_are_those_of_all_chunks_and_are_held_no_longer_than_their_file(
    size, tmp_path, monkeypatch
):
    files = three_files(tmp_path)
    whole = Reading(files)
    chunks = dict(whole.chunks(size))
    for wanted in ([0], [len(chunks) - 1], list(chunks)):
        assert dict(Reading(files).some_chunks(wanted, whole.begins, size)) == {n: chunks[n] for n in wanted}
    opened, rows = [], Source.rows
    monkeypatch.setattr(Source, "rows", lambda source: opened.append(1) or rows(source))
    next(Reading(files).some_chunks(list(chunks), whole.begins, size))
    assert len(opened) == min(3, -(-size // 3))


def test_some_chunks_of_chosen_rows_are_of_these_rows(tmp_path):
    files = three_files(tmp_path)
    whole, again = (ChosenRows(files, where=("part", "test")) for _ in range(2))
    chunks = dict(whole.chunks(2))
    assert len(chunks) == 3
    assert dict(again.some_chunks([1, 2], whole.begins, 2)) == {n: chunks[n] for n in (1, 2)}
