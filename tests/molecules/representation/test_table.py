"""Rows of anyone's file keep their number and their identifiers, whatever the file is."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chemscale.molecules.preparation.sources import SourceError
from chemscale.molecules.representation.table import MoleculeTable
from tests.helpers.molecule_files import put

SDF = """
  RDKit

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 O   0  0
  1  2  1  0
M  END
>  <ID>
m{n}

$$$$
"""


def rows(table):
    return [(row.number, row.text, row.kept) for row in table.rows()]


def test_identifiers_are_kept_and_other_columns_are_not(tmp_path):
    path = put(tmp_path, "a.csv", "smiles,zinc_id,logP\nCCO,Z1,0.1\n,Z2,\nCCN,Z3,0.2\n")
    table = MoleculeTable(path)
    assert table.names == ["zinc_id"]
    assert rows(table) == [(1, "CCO", ("Z1",)), (2, "", ("Z2",)), (3, "CCN", ("Z3",))]


def test_all_or_none_or_named_columns_are_kept_in_the_order_of_the_file(tmp_path):
    path = put(tmp_path, "a.csv", "smiles,zinc_id,logP\nCCO,Z1,0.1\nCCN,Z3,0.2\n")
    assert MoleculeTable(path, keep="all").names == ["zinc_id", "logP"]
    assert MoleculeTable(path, keep="none").names == []
    assert rows(MoleculeTable(path, keep=["logP"]))[1] == (2, "CCN", ("0.2",))
    with pytest.raises(SourceError, match=r"no column 'pIC50'.*smiles, zinc_id, logP"):
        MoleculeTable(path, keep=["pIC50"])


def test_the_name_behind_a_smiles_of_a_list_is_kept(tmp_path):
    path = put(tmp_path, "a.smi.gz", gzip.compress(b"CCO ethanol\nc1ccccc1 benzene\n"))
    table = MoleculeTable(path)
    assert table.names == ["name"]
    assert rows(table) == [(1, "CCO", ("ethanol",)), (2, "c1ccccc1", ("benzene",))]


def test_numbers_of_a_parquet_file_are_kept_as_text(tmp_path):
    columns = {"cid": [7, None], "smiles": ["CCO", "CCN"], "y": [0.5, 1.5]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert rows(MoleculeTable(tmp_path / "a.parquet", keep="all")) == [
        (1, "CCO", ("7", "0.5")),
        (2, "CCN", ("", "1.5")),
    ]


def test_fields_of_records_are_kept(tmp_path):
    sdf = put(tmp_path, "a.sdf", SDF.format(n=1)[1:] + SDF.format(n=2)[1:])
    assert [kept for _, _, kept in rows(MoleculeTable(sdf))] == [("m1",), ("m2",)]
    jsonl = put(tmp_path, "a.jsonl", '{"smiles": "CCO", "id": 1}\n{"smiles": "CCN", "id": 2}\n')
    assert [kept for _, _, kept in rows(MoleculeTable(jsonl))] == [("1",), ("2",)]


def test_cells_that_may_have_moved_are_not_kept(tmp_path):
    text = "id,smiles,name\n1,CCO,a\n2,CCN,b,c\n"
    assert [kept for _, _, kept in rows(MoleculeTable(put(tmp_path, "a.csv", text)))] == [
        ("1", "a"),
        ("2", ""),
    ]


def test_numbers_run_over_all_files_of_a_folder(tmp_path):
    put(tmp_path, "in/a.csv", "smiles,id\nCCO,1\n")
    put(tmp_path, "in/b.csv", "id,smiles\n2,CCN\n")
    assert rows(MoleculeTable(tmp_path / "in")) == [(1, "CCO", ("1",)), (2, "CCN", ("2",))]


def test_the_hash_of_a_table_is_that_of_what_is_used_of_it(tmp_path):
    a = put(tmp_path, "a.csv", "smiles,id,x\nCCO,1,0\nCCN,2,0\n")
    b = put(tmp_path, "b.csv", "smiles,id,x\nCCO,1,9\nCCN,2,9\n")
    assert MoleculeTable(a).survey() == MoleculeTable(b).survey()
    assert MoleculeTable(a, keep="all").survey() != MoleculeTable(b, keep="all").survey()
    assert MoleculeTable(a).survey()[0] == 2


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", "x,y\n1,2\n3,4\n", "--column NAME"),
        ("a.csv", "a_smiles,b_smiles\nCC,CCO\nCCN,CCC\n", "--column a_smiles or --column b_smiles"),
        ("a.smi", "", "empty"),
        ("a.csv", b"smiles,n\nCCO,\xe9\n", "UTF-8"),
    ],
)
def test_a_file_that_is_refused_names_the_option(tmp_path, name, content, why):
    with pytest.raises(SourceError, match=why) as refusal:
        MoleculeTable(put(tmp_path, name, content)).survey()
    assert "data." not in str(refusal.value)


def test_a_path_of_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        MoleculeTable(tmp_path / "none.csv")
