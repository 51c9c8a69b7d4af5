"""Tables of labels: tasks are found or asked for, missing labels stay missing, bad ones are named."""

import numpy as np
import pytest

from chemscale.probing.data import ProbeError, read_labelled
from tests.helpers.molecule_files import put


def test_labels_that_are_missing_stay_missing(table, encoder):
    data = read_labelled(table, encoder, tasks=["ring", "nitrogen"])
    assert data.kind == "classification"
    assert np.isnan(data.labels[:, 0]).sum() == len(data) // 3
    assert not np.isnan(data.labels[:, 1]).any()


def test_molecules_without_a_label_or_that_cannot_be_read_are_counted(tmp_path, encoder):
    path = put(tmp_path, "a.csv", "smiles,y\nCCO,1.5\nnot,2\nCCN,\nCCCO,nan\nCCO,1.7\nC[Si]C,1\n")
    data = read_labelled(path, encoder)
    assert data.rows.tolist() == [1, 5]
    assert data.reasons == {"unparsable": 1, "no label": 2, "symbol outside the given vocabulary": 1}
    assert (data.total, data.repeated, data.kind) == (6, 1, "regression")


def test_all_columns_of_zero_and_one_are_the_tasks(tmp_path, encoder):
    path = put(tmp_path, "a.csv", "smiles,a,b,mol_id,note\nCCO,1,0,7,x\nCCN,0,,8,y\nCCCO,1,1,9,z\n")
    assert read_labelled(path, encoder).tasks == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "options", "why"),
    [
        ("smiles,a,b\nCCO,1.5,2\nCCN,2,3\n", {}, "columns a, b hold numbers.*--task"),
        ("smiles,a\nCCO,x\nCCN,y\n", {}, "no column holds numbers"),
        ("smiles,a\nCCO,1\nCCN,high\n", {"tasks": ["a"]}, r"a\.csv, row 2, column a: 'high' is no number"),
        ("smiles,a\nCCO,1\nCCN,inf\n", {"tasks": ["a"]}, r"a\.csv, row 2, column a: 'inf'"),
        ("smiles,a,b\nCCO,1,2.5\nCCN,0,3\n", {"tasks": ["a", "b"]}, "a is of classes and b of numbers"),
        ("smiles,a\nCCO,1\nCCN,2.5\n", {"kind": "classification"}, "labels other than 0 and 1"),
        ("smiles,a\nCCO,1\nCCN,2.5\n", {"tasks": ["z"]}, "no column 'z'"),
        ("smiles,a\nCCO,\nCCN,\nC[Si]C,1\n", {}, "no molecule that the model can read has a label"),
        ("smiles,a\nCCO,1\nCCN,0\n", {"kind": "ranking"}, "classification or regression"),
    ],
)
def test_a_table_that_cannot_be_probed_is_refused_by_what_is_wrong(tmp_path, encoder, content, options, why):
    with pytest.raises(ValueError, match=why):
        read_labelled(put(tmp_path, "a.csv", content), encoder, **options)


def test_classes_can_be_taken_for_numbers(tmp_path, encoder):
    path = put(tmp_path, "a.csv", "smiles,a\nCCO,1\nCCN,0\n")
    assert read_labelled(path, encoder, kind="regression").kind == "regression"
    assert issubclass(ProbeError, ValueError)
