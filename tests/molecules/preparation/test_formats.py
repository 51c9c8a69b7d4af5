"""Files of every kind that molecules come in: archives, folders, encodings, SELFIES, JSON, SDF."""

import bz2
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pytest
import selfies
from rdkit import Chem

from chemscale.common.sections import ConfigurationError
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.sources import Reading, Source, SourceError
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.settings import MoleculeData
from tests.helpers.molecule_files import NUMBERS, OTHER, SMILES, put, read, table


def compressed(kind, data):
    if kind == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    if kind == "zip":
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("m.csv", data)
        return out.getvalue()
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](data)


KINDS = ["gz", "bz2", "xz", "zst", "zip"]


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_files_are_read_and_cut_ones_refused(tmp_path, kind):
    data = compressed(kind, table("id,smiles", NUMBERS * 500, SMILES * 500).encode())
    assert read(put(tmp_path, f"m.csv.{kind}", data)) == SMILES * 500
    if kind != "zip":
        assert read(put(tmp_path, "no-suffix", data)) == SMILES * 500
        assert read(put(tmp_path, f"two.csv.{kind}", data + data))[3001:] == SMILES * 500
    for end in (len(data) - 4, len(data) // 2):
        with pytest.raises(SourceError, match=rf"cut\.csv\.{kind}"):
            read(put(tmp_path, f"cut.csv.{kind}", data[:end]))


def test_each_member_of_a_zip_is_a_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("README.txt", "words and words\n")
        archive.writestr("__MACOSX/._a.csv", b"\0\0")
        archive.writestr("a.csv", table("id,smiles", NUMBERS, SMILES))
        archive.writestr("deep/b.smi.gz", gzip.compress("\n".join(OTHER).encode()))
    reading = Reading([tmp_path / "m.zip"])
    (chunk,) = reading.chunks(100)
    assert [text for _, text, _ in chunk[1]] == SMILES + OTHER
    assert reading.place(7) == ("m.zip/deep/b.smi.gz", 1)
    assert reading.place(6) == ("m.zip/a.csv", 7)


def test_a_zip_whose_second_name_of_a_member_is_damaged_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("é.csv", table("id,smiles", NUMBERS, SMILES))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[30] = 0xFF  # of the name before the content: the one in the table at the end is whole
    with pytest.raises(SourceError, match=r"a\.zip.*not a readable zip file"):
        read(put(tmp_path, "a.zip", bytes(content)))


def test_archives_of_no_molecules_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(SourceError, match="Save the sheet as CSV"):
        Source(tmp_path / "book.xlsx")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(SourceError, match="without a file of molecules"):
        Source(tmp_path / "empty.zip")


def test_folders_are_read_with_their_sub_folders_and_the_rest_is_named(tmp_path):
    for name in ("b/x.smi", "a.csv", "README.md", "b/SHA256SUMS", "b/c/d/y.csv.gz", ".hidden/z.smi", "p.pdf"):
        put(tmp_path, name, "x")
    files, left_out = find_files(str(tmp_path))
    assert [str(f.relative_to(tmp_path)) for f in files] == ["a.csv", "b/c/d/y.csv.gz", "b/x.smi"]
    assert left_out == ["README.md", "b/SHA256SUMS", "p.pdf"]
    assert [f.name for f in find_files(str(tmp_path / "**" / "*.smi"))[0]] == ["x.smi"]
    with pytest.raises(FileNotFoundError, match=r"README\.md"):
        find_files(str(put(tmp_path, "only/README.md", "x").parent))


@pytest.mark.parametrize("empty", ["", "smiles,y\n", "\n\n"])
def test_a_file_without_rows_is_passed_over_in_a_folder_and_refused_alone(tmp_path, empty):
    files = [
        put(tmp_path, "a.csv", empty),
        put(tmp_path, "b.csv", "smiles,y\n" + "".join(f"{s},1\n" for s in SMILES)),
    ]
    made = build_corpus(files, tmp_path / "c", workers=1, validation_fraction=0.3)
    assert made.manifest["without_rows"] == ["a.csv"]
    assert [source["file"] for source in made.manifest["sources"]] == ["b.csv"]
    assert made.manifest["counts"]["rows"] == len(SMILES)
    with pytest.raises(SourceError, match=r"a\.csv"):
        Reading(files[:1])


def test_files_of_other_columns_each_have_their_own(tmp_path):
    files = [
        put(tmp_path, "a.csv", table("smiles,id", SMILES, NUMBERS)),
        put(tmp_path, "b.csv", table("scaffold,mol", OTHER, [s + "C" for s in OTHER])),
    ]
    made = build_corpus(files, tmp_path / "c", workers=1, validation_fraction=0.3)
    assert [(s["file"], s["column"]) for s in made.manifest["sources"]] == [
        ("a.csv", "smiles"),
        ("b.csv", "mol"),
    ]
    with pytest.raises(SourceError, match=r"b\.csv.*no column named 'smiles'"):
        Reading(files, "smiles")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_an_encoding_is_named_by_its_line_and_read_when_given(tmp_path, encoding):
    rows = table("name,smiles", [*"abcd", "café", "g"], SMILES).encode(encoding)
    path = put(tmp_path, "m.csv", rows)
    with pytest.raises(SourceError, match=r"m\.csv, line 6: byte 0xE9 is not UTF-8.*data\.encoding=cp1252"):
        read(path)
    assert read(path, encoding=encoding) == SMILES


@pytest.mark.parametrize(
    ("key", "value"), [("encoding", "cp9999"), ("encoding", "hex"), ("delimiter", "foo")]
)
def test_an_encoding_or_a_delimiter_that_is_none_is_refused_by_its_key(key, value):
    with pytest.raises(ConfigurationError, match=f"data.{key}='{value}'"):
        MoleculeData(source="smiles", path="m.csv", **{key: value})
    MoleculeData(source="smiles", path="m.csv", encoding="utf-16", delimiter="tab")


def test_a_refused_file_leaves_no_folder(tmp_path):
    with pytest.raises(SourceError):
        build_corpus([put(tmp_path, "m.csv", "a,b\n1,2\n")], tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_utf_16_is_read_by_its_mark_or_named(tmp_path):
    rows = table("name,smiles", NUMBERS, SMILES)
    assert read(put(tmp_path, "m.csv", rows.encode("utf-16"))) == SMILES
    path = put(tmp_path, "n.csv", rows.encode("utf-16-le"))
    with pytest.raises(SourceError, match=r"data\.encoding=utf-16-le"):
        read(path)
    assert read(path, encoding="utf-16-le") == SMILES


@pytest.mark.parametrize("header", ["selfies", "smiles", ""])
def test_selfies_are_recognised_and_decoded(tmp_path, header):
    cells = [selfies.encoder(s) for s in SMILES]
    path = put(tmp_path, "m.csv", "\n".join([header, *cells] if header else cells))
    assert Source(path).describe()["notation"] == "selfies"
    plain = put(tmp_path, "m.smi", "\n".join(SMILES))
    made, same = (
        build_corpus([p], tmp_path / p.suffix, workers=1, validation_fraction=0.3) for p in (path, plain)
    )
    assert made.hash == same.hash


def test_linear_selfies_are_not_radicals_and_bad_ones_are_listed(tmp_path):
    path = put(
        tmp_path, "m.csv", "selfies\n[C][O]\n[N][C]\n[C][C][O]\n[C][foo]\nCCO\n[C][Branch1_1][C][O][C]\n"
    )
    made = build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.3)
    assert made.manifest["counts"]["kept"] == 3
    (shown, not_brackets) = made.manifest["examples"]["SELFIES that cannot be decoded"]
    assert (shown["line"], "[foo]" in shown["detail"]) == (5, True)
    assert not_brackets["smiles"] == "CCO"


def test_ions_are_no_selfies(tmp_path):
    path = put(tmp_path, "m.smi", "[Na+].[Cl-]\n[K+].[Br-]\n[NH4+].[Cl-]\n")
    assert Source(path).describe()["notation"] == "smiles"


JSON = {
    "lines": "".join(json.dumps({"id": 1, "smiles": s}) + "\n" for s in SMILES),
    "an array": json.dumps([{"id": 1, "smiles": s} for s in SMILES]),
    "an indented array": json.dumps([{"id": 1, "smiles": s} for s in SMILES], indent=2),
    "an array of texts": json.dumps(SMILES),
    "nested": json.dumps({"meta": {"n": 6}, "data": {"rows": [{"x": {"smiles": s}} for s in SMILES]}}),
    "nested lines": "".join(json.dumps({"a": {"b": [{"smiles": s}]}}) + "\n" for s in SMILES),
    "columns": json.dumps({"smiles": SMILES, "y": [1] * 6}),
    "columns of pandas": json.dumps({"smiles": {str(i): s for i, s in enumerate(SMILES)}, "y": {"0": 1}}),
    "split of pandas": json.dumps(
        {"columns": ["y", "smiles"], "index": [], "data": [[1, s] for s in SMILES]}
    ),
    "texts by name": json.dumps({f"mol{i}": s for i, s in enumerate(SMILES)}),
    "values by text": json.dumps(dict.fromkeys(SMILES, 1.5)),
    "by name": json.dumps({f"mol{i}": {"smiles": s, "y": 1} for i, s in enumerate(SMILES)}),
}


@pytest.mark.parametrize("name", JSON)
def test_json_of_any_shape_is_read(tmp_path, name):
    assert read(put(tmp_path, "m.json", JSON[name])) == SMILES


def test_a_nested_key_is_named_by_its_path(tmp_path):
    text = "".join(
        json.dumps({"a": {"x": o, "b": {"c": s}}}) + "\n" for s, o in zip(SMILES, OTHER, strict=True)
    )
    assert read(put(tmp_path, "m.jsonl", text), "a.b.c") == SMILES
    late = "".join(json.dumps({"id": i}) + "\n" for i in range(200)) + json.dumps({"smiles": "CCO"})
    assert read(put(tmp_path, "n.jsonl", late), "smiles")[-1] == "CCO"


def test_a_line_of_json_that_is_no_record_is_an_empty_row(tmp_path):
    lines = "null\n" + "".join(json.dumps({"smiles": s}) + "\n" for s in SMILES) + "{}\n5\n"
    assert read(put(tmp_path, "m.jsonl", lines)) == ["", *SMILES, "", ""]


@pytest.mark.parametrize("text", ['[{"smiles": "CCO"}, {"smi', '{"a": [', '{"smiles": "CCO"}\n{"smi\n'])
def test_json_that_is_cut_short_is_refused(tmp_path, text):
    with pytest.raises(SourceError, match=r"m\.json"):
        read(put(tmp_path, "m.json", text))


def sdf(smiles, v3000=False):
    blocks = []
    for text in smiles:
        block = Chem.MolToMolBlock(Chem.MolFromSmiles(text), forceV3000=v3000)
        blocks.append(f"{block}> <NAME>\nx\n\n> <SOURCE_SMILES>\n{text}\n\n$$$$\n")
    return blocks


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("v3000", [False, True])
def test_sdf_is_read_and_bad_records_are_counted_by_their_number(tmp_path, v3000, gz):
    blocks = sdf(["CCO", "CCN", "C[C@H](N)O", "CCC"], v3000)
    blocks.insert(2, "bad\n\n\n  x y z\nM  END\n$$$$\n")
    blocks.insert(4, "\n\n\n\n$$$$\n")
    content = "".join(blocks).encode()
    path = put(tmp_path, "m.sdf.gz" if gz else "m.sdf", gzip.compress(content) if gz else content)
    made = build_corpus([path], tmp_path / "c", workers=1, validation_fraction=0.3)
    assert made.manifest["counts"]["rows"] == 6
    assert made.manifest["counts"]["dropped"] == {"record that cannot be read": 2}
    assert [row["line"] for row in made.manifest["examples"]["record that cannot be read"]] == [3, 5]
    assert read(path, "SOURCE_SMILES") == ["CCO", "CCN", "", "C[C@H](N)O", "", "CCC"]


@pytest.mark.parametrize("name", ["m.txt", "m", "m.dat.gz"])
def test_sdf_and_json_are_known_by_their_content(tmp_path, name):
    sdf = "".join(Chem.MolToMolBlock(Chem.MolFromSmiles(s)) + "$$$$\n" for s in SMILES).encode()
    lines = "".join(json.dumps({"smiles": s}) + "\n" for s in SMILES).encode()
    packed = gzip.compress if name.endswith(".gz") else bytes
    assert Source(put(tmp_path, name, packed(sdf))).choice.notation == "molblock"
    assert read(put(tmp_path, name, packed(lines))) == SMILES


def test_a_field_of_sdf_is_named_and_one_that_is_not_there_refused(tmp_path):
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("C"))
    path = put(tmp_path, "m.sdf", "".join(f"{block}> <Smiles>\n{s}\n\n$$$$\n" for s in SMILES))
    assert read(path, "Smiles") == SMILES
    assert Source(path, "Smiles").describe()["column"] == "Smiles"
    with pytest.raises(SourceError, match="Its fields are Smiles"):
        Source(path, "smi")
