"""The starter molecules: distinct, readable, drug-like, and always the same."""

import collections

import pytest
from rdkit import Chem

from chemscale.molecules.starter.drugs import drugs
from chemscale.molecules.starter.recombine import StarterError, cut_drugs, starter_smiles, write_starter


def test_every_medicine_is_readable():
    assert all(Chem.MolFromSmiles(s) is not None for s in drugs().values())
    assert len(drugs()) > 180


def test_molecules_are_distinct_whole_and_of_drug_size(smiles):
    assert len(set(smiles)) == 400
    for text in smiles[len(drugs()) :]:
        molecule = Chem.MolFromSmiles(text)
        assert molecule is not None
        assert "." not in text
        assert 10 <= molecule.GetNumHeavyAtoms() <= 40
        assert Chem.MolToSmiles(molecule) == text


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_file(tmp_path):
    for workers in (1, 2):
        write_starter(tmp_path / f"{workers}.smi", 300, workers=workers)
    assert (tmp_path / "1.smi").read_bytes() == (tmp_path / "2.smi").read_bytes()


def test_a_smaller_count_is_a_prefix(smiles):
    assert starter_smiles(250, workers=1) == smiles[:250]


def test_the_file_is_the_reference_and_a_difference_is_said(tmp_path, caplog, monkeypatch):
    write_starter(tmp_path / "a.smi", 1000, workers=1)
    assert not caplog.records
    monkeypatch.setattr("chemscale.molecules.starter.recombine.KNOWN_HASHES", {1000: "0" * 64})
    write_starter(tmp_path / "b.smi", 1000, workers=1)
    assert "differ from the reference" in caplog.text


def test_no_piece_dominates():
    texts = collections.Counter(p.text for p in cut_drugs().caps)
    assert len(texts) > 500
    assert max(len(caps) for caps in cut_drugs().fitting.values()) > 100


def test_a_count_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(StarterError, match=r"data\.count=5"):
        write_starter(tmp_path / "x.smi", 5)
