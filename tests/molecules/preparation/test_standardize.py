"""Policies, and the reason for every molecule that is dropped."""

import pytest

from chemscale.molecules.preparation.standardize import (
    Policy,
    PolicyError,
    Reason,
    Rejected,
    encode,
    standardize,
)


def canonical(text, **policy):
    result = standardize(text, Policy(**policy))
    return result.reason if isinstance(result, Rejected) else result.smiles


def test_one_molecule_has_one_spelling():
    assert canonical("OCC") == canonical("C(O)C") == "CCO"


@pytest.mark.parametrize(
    ("policy", "text", "expected"),
    [
        ({"stereo": "keep"}, "C[C@H](N)C(=O)O", "C[C@H](N)C(=O)O"),
        ({"stereo": "strip"}, "C[C@H](N)C(=O)O", "CC(N)C(=O)O"),
        ({"stereo": "strip"}, "C/C=C/C", "CC=CC"),
        ({"salts": "keep"}, "CC(=O)[O-].[Na+]", "CC(=O)[O-].[Na+]"),
        ({"salts": "largest"}, "CC(=O)[O-].[Na+]", "CC(=O)[O-]"),
        ({"salts": "largest", "charge": "neutralize"}, "CC(=O)[O-].[Na+]", "CC(=O)O"),
        ({"salts": "drop"}, "CC(=O)[O-].[Na+]", Reason.SEVERAL_FRAGMENTS),
        ({"max_heavy_atoms": 3}, "CCCC", Reason.TOO_MANY_HEAVY_ATOMS),
        ({}, "", Reason.EMPTY),
        ({}, "C1CC", Reason.UNPARSABLE),
        ({}, "C[*]", Reason.WILDCARD),
        ({}, "[H][H]", Reason.NO_HEAVY_ATOM),
    ],
)
def test_policies_do_what_they_say(policy, text, expected):
    assert canonical(text, **policy) == expected


def test_what_selfies_cannot_express_is_dropped_with_a_reason():
    assert encode("CS(C)(C)(C)(C)(C)C", Policy()).reason is Reason.NO_SELFIES
    assert encode("CCCC", Policy(max_symbols=3)).reason is Reason.TOO_MANY_SYMBOLS
    assert encode("CCO", Policy()) == ["[C]", "[C]", "[O]"]


def test_an_unknown_policy_is_refused_with_the_choices():
    with pytest.raises(PolicyError, match="keep, largest, drop"):
        Policy(salts="remove")
