"""What ``data.references`` may be is settled before data are prepared."""

import pytest

from chemscale.common.sections import ConfigurationError
from chemscale.structures.settings import StructureData


def data(references):
    return StructureData(source="starter_structures", references=references)


@pytest.mark.parametrize(
    "given",
    [
        {"H": -13.6, "Cl": -100},
        {1: -13.6, 17: -100},
        {"1": -13.6, "17": -100.0},
        {"h": "-13.6", "CL": "\u2212100"},
    ],
)
def test_symbols_and_atomic_numbers_give_elements(given):
    assert data(given).reference_method == {1: -13.6, 17: -100.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"C": None}, r"data\.references\.C=null: give a number, eV of an atom of C"),
        ({"C": float("nan")}, r"data\.references\.C=nan: give a number"),
        ({"C": float("-inf")}, r"data\.references\.C=-inf: give a number"),
        ({"C": True}, r"data\.references\.C=True: give a number"),
        ({"C": "-13.6 eV"}, r"data\.references\.C=-13\.6 eV: give a number"),
        ({"C": [1.0]}, r"data\.references\.C=\[1\.0\]: give a number"),
        ({"Hx": 1.0}, r"data\.references\.Hx: no such element"),
        ({0: 1.0}, r"data\.references\.0: no such element"),
        ({119: 1.0}, r"data\.references\.119: no such element"),
        ({1.5: 1.0}, r"data\.references\.1\.5: no such element"),
        ({False: 1.0}, r"data\.references\.False: no such element; give symbols, in quotes in YAML"),
        ({"X": 1.0}, r"data\.references\.X: no such element"),
        ({"C": 1.0, 6: 2.0}, r"data\.references\.6: C is given twice"),
        ("isolatet", r"data\.references='isolatet': choose fit, minimum_norm, isolated, none, or give \{H"),
    ],
)
def test_what_is_no_energy_of_an_element_is_refused_by_its_key(given, message):
    with pytest.raises(ConfigurationError, match=message):
        data(given)
