"""Which column of a file is read: by name, by content, or refused with the candidates."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chemscale.molecules.preparation.build import build_corpus
from chemscale.molecules.preparation.sources import Source, SourceError
from tests.helpers.molecule_files import NUMBERS, OTHER, SMILES, put, read, table


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


def test_of_many_columns_that_tie_a_few_are_named(tmp_path):
    path = put(tmp_path, "m.csv", ",".join(f"v{i}" for i in range(40)) + "\n" + ",".join(["CCO"] * 40) + "\n")
    with pytest.raises(SourceError, match="or 34 others") as refused:
        Source(path)
    assert len(str(refused.value)) < 600
