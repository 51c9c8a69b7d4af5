"""Every line of an awkward file is kept, dropped with its place, or the file is refused by name."""

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import selfies
from rdkit import Chem

from chemscale.common.sections import ConfigurationError
from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.sources import Reading, Source, SourceError
from chemscale.molecules.preparation.sources.files import find_files
from chemscale.molecules.settings import MoleculeData

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C[C@H](N)C(=O)O", "CCN(CC)CC", "OCC(O)CO"]
OTHER = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "C1CCOCC1", "c1ccsc1"]


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, *args, **options):
    return [text for _, text in Source(path, *args, **options)]


def physical_lines(content: bytes) -> int:
    text = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.count(b"\n") + (not text.endswith(b"\n"))


AWKWARD = {
    "plain.smi": "\n".join(SMILES) + "\n",
    "no final newline.smi": "\n".join(SMILES),
    "crlf.csv": "smiles,id\r\n" + "".join(f"{s},{i}\r\n" for i, s in enumerate(SMILES)),
    "lone cr.csv": "smiles,id\r" + "".join(f"{s},{i}\r" for i, s in enumerate(SMILES)),
    "mixed ends.smi": "CCO\r\nCCN\rCCC\nCCCC\r\n",
    "blank.smi": "\n\nCCO\n\nCCN\n\n\nCCC\n\n",
    "blank.csv": "\nsmiles,id\nCCO,1\n\nCCN,2\n,\nCCC,3\n",
    "comments.smi": "# made by hand\nCCO\n# half way\nCCN\nCCC\n#\n",
    "comments.csv": "# made by hand\nsmiles,id\nCCO,1\n# half way\nCCN,2\nCCC,3\n",
    "nul.smi": "CCO\nC\0C\nCCN\nCCC\n\0\n",
    "nul.csv": "smiles,id\nCCO,1\nC\0C,2\nCCN,\0\nCCC,4\n",
    "mark.csv": "\ufeffsmiles,id\nCCO,1\nCCN,2\nCCC,3\n",
    "marks.smi": "\ufeffCCO\n\ufeffCCN\nCCC\nCCCC\n",
    "separator.csv": "sep=;\nsmiles;id\nCCO;1\nCCN;2\nCCC;3\n",
    "commas.smi": "CCO,one name\nCCN,b\nCCC,c\nCCCC,d\n",
    "feeds.smi": "CCO\x0b\nCCN\x0cname\nCCC\x1cname\nCCCC\u2028name\nCCCCC\x85\n\x0c\nCCCN\n",
    "feeds.csv": "smiles,note\nCCO,a\x0bb\nCCN,a\x0cb\nCCC,a\x1cb\nCCCC,a\u2028b\n",
    "quotes.tsv": 'id\tname\tsmiles\n1\t5" pipe\tCCO\n2\t"open\tCCN\n3\t""\tCCC\n4\tclosed"\tCCCC\n',
    "quotes.smi": 'CCO "open\nCCN 5"\n"CCC" x\nCCCC y\n',
    "quotes.csv": 'smiles,note\nCCO,5" pipe\n"CCN","a, b"\nCCC,"say ""no"""\n"CCCC",\n',
    "last quote.csv": 'smiles,note\nCCO,a\nCCN,b\nCCC,"open\n',
    "zinc.csv": "smiles,logP\n" + "".join(f'"{s}\n",{i}.5\n' for i, s in enumerate(SMILES)),
    "short rows.csv": "id,smiles,note\n1,CCO,x\n2\n3,CCN\n4,CCC,\n",
    "long rows.csv": "name,smiles\nethanol,CCO\nN,N-dimethyl,CN(C)C\n1,2-ethane,CCS\nx,CCC\ny,CCN\n",
    "long name.csv": "id,smiles,name\n1,CCO,a\n2,CCN,2,4-dinitro\n3,CCC,b\n",
    "huge cell.csv": "smiles,id\nCCO,1\n" + "?" * 200_000 + ",2\nCCN,3\nCCC,4\n",
    "nonsense.csv": "smiles\nCCO\nnonsense\n[Xx]\nC1CC\nCCN\nCCO\nOCC\n",
    "hash header.smi": "#smiles name\nCCO a\nCCN b\nCCC c\n",
    "pipes.csv": "smiles|id\nCCO|1\nCCN|2\nCCC|3\n",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_lines_are_rows_kept_dropped_or_duplicates(tmp_path, name):
    content = AWKWARD[name].encode()
    path = put(tmp_path, name, content)
    made = build_corpus([path], tmp_path / "corpus", workers=1, validation_fraction=0.3)
    (source,) = made.manifest["sources"]
    counts = made.manifest["counts"]
    continued = {"zinc.csv": len(SMILES), "separator.csv": 1}.get(name, 0)
    assert physical_lines(content) == counts["rows"] + continued + source["header"]
    assert counts["rows"] == counts["kept"] + sum(counts["dropped"].values())
    with gzip.open(made.path / "dropped.csv.gz", "rt", newline="") as file:
        dropped = list(csv.DictReader(file))
    assert len(dropped) == sum(counts["dropped"].values())
    lines = content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for row in dropped:
        assert row["file"] == name
        assert row["reason"] == "duplicate" or row["smiles"] in lines[int(row["line"]) - 1]


@pytest.mark.parametrize(
    ("name", "kept"),
    [("quotes.tsv", 4), ("zinc.csv", 6), ("feeds.smi", 6), ("nul.csv", 3), ("commas.smi", 4)],
)
def test_what_can_be_read_is_kept(tmp_path, name, kept):
    path = put(tmp_path, name, AWKWARD[name])
    assert (
        sum(Chem.MolFromSmiles(text) is not None for text in read(path) if text and "\0" not in text) == kept
    )


def test_a_row_whose_cells_moved_is_dropped_and_one_whose_molecule_is_sure_is_kept(tmp_path):
    made = build_corpus(
        [put(tmp_path, "m.csv", AWKWARD["long rows.csv"])], tmp_path / "c", workers=1, validation_fraction=0.3
    )
    assert made.manifest["counts"]["dropped"] == {"more cells than the header": 2}
    assert read(put(tmp_path, "n.csv", AWKWARD["long name.csv"])) == ["CCO", "CCN", "CCC"]


@pytest.mark.parametrize("closed_at", [None, 9])
def test_a_quoted_cell_that_runs_over_lines_is_refused_by_its_line(tmp_path, closed_at):
    rows = [f"{i},name,{s}" for i, s in enumerate(SMILES * 3)]
    rows[4] = rows[4].replace("name", '"name')
    if closed_at:
        rows[closed_at] = rows[closed_at].replace("name", 'name"')
    path = put(tmp_path, "m.csv", "id,name,smiles\n" + "\n".join(rows))
    with pytest.raises(SourceError, match=r"m\.csv, line 6: a quoted cell .* runs over"):
        read(path)


def test_a_note_of_two_lines_is_refused_too(tmp_path):
    path = put(tmp_path, "m.csv", 'note,smiles\na,CCO\n"b\nc",CCN\nd,CCC\n')
    with pytest.raises(SourceError, match=r"line 3"):
        read(path)


def test_an_extension_that_holds_the_delimiter_stays_with_its_smiles(tmp_path):
    path = put(tmp_path, "m.csv", "smiles,id\nC[C@H](O)F |&1:1,r|,0\nC[C@H](N)F |&1:1,r|,1\n")
    assert read(path) == ["C[C@H](O)F |&1:1,r|", "C[C@H](N)F |&1:1,r|"]
    path = put(tmp_path, "m.smi", "C[C@H](O)F |&1:1, r| first\nC[C@H](N)F second\n")
    assert read(path) == ["C[C@H](O)F |&1:1,r|", "C[C@H](N)F"]


# --- the column ---


def table(header, *columns, delimiter=","):
    rows = [header.split(",")] if header else []
    rows += zip(*columns, strict=True)
    return "".join(delimiter.join(row) + "\n" for row in rows)


NUMBERS = list("123456")


@pytest.mark.parametrize(
    ("header", "read_column"),
    [
        ("scaffold,std_smiles", 1),
        ("scaffold_smiles,smiles", 1),
        ("SMILES,scaffold_smiles", 0),
        ("canonical_smiles,smiles", 1),
        ("Murcko,Canonical SMILES", 1),
        ("text,structure", 1),
        ("structure,text", 0),
        ("mol,scaffold", 0),
        ("CanonicalSMILES,input", 0),
        ("scaffold,something", 1),
        ("reactant,drug", 1),
    ],
)
def test_a_name_that_says_smiles_decides(tmp_path, header, read_column):
    columns = [OTHER, SMILES] if read_column else [SMILES, OTHER]
    source = Source(put(tmp_path, "m.csv", table(f"{header},y", *columns, NUMBERS)))
    assert [text for _, text in source] == SMILES
    assert source.describe()["column"] == header.split(",")[read_column]


@pytest.mark.parametrize(
    ("header", "ways"),
    [
        (
            "canonical_smiles,isomeric_smiles",
            "data.smiles_column=canonical_smiles or data.smiles_column=isomeric",
        ),
        ("SMILES,smiles", "data.smiles_column=SMILES or data.smiles_column=smiles"),
        ("smiles,smiles", "data.smiles_column=0 or data.smiles_column=1"),
        ("a,b", "data.smiles_column=a or data.smiles_column=b"),
        ("reactant_smiles,product_smiles", "data.smiles_column=reactant_smiles or"),
        ("", "data.smiles_column=0 or data.smiles_column=1"),
    ],
)
def test_a_tie_is_refused_with_its_candidates(tmp_path, header, ways):
    path = put(tmp_path, "m.csv", table(header, SMILES, OTHER))
    with pytest.raises(SourceError, match=ways):
        Source(path)
    assert read(path, 1) == OTHER


def test_a_list_without_header_is_read_from_its_first_column(tmp_path):
    assert read(put(tmp_path, "m.smi", table("", SMILES, OTHER, delimiter=" "))) == SMILES


def test_words_that_parse_by_accident_lose_to_structures(tmp_path):
    words = ["C", "CC", "N", "CN", "O", "CO"]
    assert read(put(tmp_path, "m.csv", table("text,structure", words, SMILES))) == SMILES
    assert read(put(tmp_path, "n.csv", table("class,x", ["C", "N", "O", "CC", "B", "F"], SMILES))) == SMILES


@pytest.mark.parametrize("wanted", [None, "smiles", "Smiles", 1])
@pytest.mark.parametrize("empty", [150, 25_000])
def test_a_column_whose_first_rows_are_empty_is_read(tmp_path, wanted, empty):
    rows = [f"{i}," for i in range(empty)] + [f"x,{s}" for s in SMILES]
    assert read(put(tmp_path, "m.csv", "id,smiles\n" + "\n".join(rows)), wanted)[-6:] == SMILES


def test_a_column_without_anything_is_refused(tmp_path):
    with pytest.raises(SourceError, match="column smiles"):
        Source(put(tmp_path, "m.csv", "id,smiles\n1,\n2,\n"))


def test_the_first_molecule_of_a_list_is_no_header_although_it_is_broken(tmp_path):
    assert read(put(tmp_path, "m.smi", "c1ccccc\nCCO\nCCN\n")) == ["c1ccccc", "CCO", "CCN"]
    assert read(put(tmp_path, "m.csv", "C(C,1.5\nCCO,2\nCCN,3\n")) == ["C(C", "CCO", "CCN"]


@pytest.mark.parametrize("name", ["mol 1", "Compound_1", "drug", "smi 1", "fragment 1", "text", "structure"])
@pytest.mark.parametrize("ending", ["smi", "txt", "csv"])
def test_the_name_of_the_first_molecule_is_no_header(tmp_path, name, ending):
    between = "," if ending == "csv" else "\t"
    rows = [f"{s}{between}{name if not i else f'mol {i}'}\n" for i, s in enumerate(SMILES)]
    assert read(put(tmp_path, f"m.{ending}", "".join(rows))) == SMILES
    assert read(put(tmp_path, f"n.{ending}", f"molecule{between}name\n" + "".join(rows))) == SMILES


@pytest.mark.parametrize("long", [".".join(["O"] * 66_000), "C" * 70_000])
def test_the_first_molecule_of_a_list_is_no_header_however_long(tmp_path, long):
    path = put(tmp_path, "m.smi", "\n".join([long, *SMILES]) + "\n")
    made = build_corpus([path], tmp_path / "corpus", workers=1, validation_fraction=0.3)
    assert made.manifest["counts"]["rows"] == 1 + len(SMILES)
    assert made.manifest["counts"]["dropped"] == {"too long a text": 1}


def test_parquet_with_two_columns_of_one_name_is_read_by_number(tmp_path):
    data = pa.Table.from_arrays([pa.array(OTHER), pa.array(SMILES)], names=["smiles", "smiles"])
    pq.write_table(data, tmp_path / "m.parquet")
    for wanted in (None, "smiles"):
        with pytest.raises(SourceError, match=r"data.smiles_column=0 or data.smiles_column=1"):
            Source(tmp_path / "m.parquet", wanted)
    assert read(tmp_path / "m.parquet", 1) == SMILES


def test_parquet_fields_categories_and_missing_values_are_read(tmp_path):
    data = pa.table({"y": [1, 2, 3], "mol": [{"id": "a", "smiles": s} for s in SMILES[:3]]})
    pq.write_table(data, tmp_path / "m.parquet")
    assert read(tmp_path / "m.parquet") == SMILES[:3]
    assert read(tmp_path / "m.parquet", "mol.smiles") == SMILES[:3]
    coded = pa.table({"smiles": pa.array([None, *SMILES]).dictionary_encode()})
    pq.write_table(coded, tmp_path / "n.parquet")
    assert read(tmp_path / "n.parquet") == ["", *SMILES]


def test_a_delimiter_is_found_or_given(tmp_path):
    rows = [f"{i};2,4,5-tri,me;{s};3,14" for i, s in enumerate(SMILES)]
    path = put(tmp_path, "m.csv", "\n".join(rows))
    assert read(path) == SMILES
    assert read(path, 2, delimiter="semicolon") == SMILES
    path = put(tmp_path, "n.dat", "".join(f"{i}~{s}\n" for i, s in enumerate(SMILES)))
    assert read(path, delimiter="~") == SMILES
    path = put(
        tmp_path, "n.txt", table("id,name,smiles", NUMBERS, ["a b", "", *"cdef"], SMILES, delimiter="\t")
    )
    assert read(path) == SMILES


# --- files and formats ---


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


def test_of_many_columns_that_tie_a_few_are_named(tmp_path):
    path = put(tmp_path, "m.csv", ",".join(f"v{i}" for i in range(40)) + "\n" + ",".join(["CCO"] * 40) + "\n")
    with pytest.raises(SourceError, match="or 34 others") as refused:
        Source(path)
    assert len(str(refused.value)) < 600


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


def test_dropped_rows_name_the_atom_or_symbol(tmp_path):
    rows = [
        "CCO",
        "CCN",
        "CCC",
        "C(C)(C)(C)(C)C",
        "nonsense",
        "C1CC",
        "C[*]",
        "F[P](F)(F)(F)(F)F",
        "OCC",
        "O=I(=O)c1ccccc1",
    ]
    made = build_corpus(
        [put(tmp_path, "m.smi", "\n".join(rows))], tmp_path / "c", workers=1, validation_fraction=0.3
    )
    with gzip.open(made.path / "dropped.csv.gz", "rt") as file:
        details = {int(row["line"]): row["detail"] for row in csv.DictReader(file)}
    expected = {
        4: "atom # 0 C",
        5: "'e' at character 5",
        6: "unclosed ring",
        7: "atom 1: *",
        8: "atom # 1 P",
        9: "row 1",
        10: "I with 5 bond",
    }
    assert {line: expected[line] in detail for line, detail in details.items()} == dict.fromkeys(
        expected, True
    )


def test_symbols_outside_a_vocabulary_are_named_with_their_molecule(tmp_path):
    first = build_corpus(
        [put(tmp_path, "a.smi", "CCO\nCCN\nCCC\nCO\n")], tmp_path / "a", workers=1, validation_fraction=0.3
    )
    made = build_corpus(
        [put(tmp_path, "b.smi", "CCO\nCCN\nCCS\nFCCl\nCCC\n")],
        tmp_path / "b",
        workers=1,
        validation_fraction=0.3,
        tokenizer=first.tokenizer,
    )
    (rows,) = made.manifest["examples"].values()
    assert [(row["line"], row["smiles"], row["detail"]) for row in rows] == [
        (3, "CCS", "[S]"),
        (4, "FCCl", "[Cl] [F]"),
    ]
