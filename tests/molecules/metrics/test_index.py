"""Known molecules are found whatever their spelling, by hashes that lie sorted on the disk."""

import numpy as np
import pytest

from chemscale.molecules.metrics.novelty import index, tasks
from chemscale.molecules.metrics.novelty.index import IndexBuildError, MoleculeIndex, Reference, open_index
from chemscale.molecules.preparation.stages import molecule_hash
from chemscale.molecules.preparation.standardize import Reason
from tests.helpers.molecule_files import OTHER, SMILES, put


def opened(path, **options):
    return open_index(Reference.of(path), silent=True, **options)


def test_a_molecule_is_known_in_any_spelling_and_once(tmp_path):
    file = put(tmp_path, "t.smi", "\n".join([*SMILES, "OCC", "C1=CC=CC=C1O", "C1CC", ""]))
    found = opened(file)
    assert len(found) == len(SMILES)
    assert found.known(["CCO", "Oc1ccccc1", "CCCCC"]).tolist() == [True, True, False]
    assert found.refused == {"unparsable": 1}
    assert sorted(found.sample(100)) == sorted(set(found.sample(100)))
    assert (np.diff(found.hashes.astype(object)) > 0).all()


def test_of_a_sample_of_n_the_lowest_hashes_are_taken_always(tmp_path, smiles):
    found = opened(put(tmp_path, "t.smi", "\n".join(smiles)))
    hashes = [molecule_hash(text) for text in found.sample(50)]
    assert hashes == found.hashes[:50].tolist()


def test_a_corpus_is_its_own_list_of_known_molecules_and_so_is_a_nested_part(corpus):
    found = opened(corpus.path)
    texts = [corpus.tokenizer.to_smiles(corpus.train.tokens(i).tolist()) for i in range(40)]
    drawn = [tasks.standardize(text, tasks.ANY_LENGTH).smiles for text in texts]
    assert len(found) == len(corpus.train)
    assert found.known(drawn).all()
    assert found.known(drawn, first=10).tolist() == [True] * 10 + [False] * 30


def test_an_interrupted_build_goes_on_behind_its_last_part(tmp_path, smiles, monkeypatch):
    monkeypatch.setattr(index, "CHUNK", 50)
    file = put(tmp_path, "t.smi", "\n".join(smiles))
    whole = opened(file, folder=tmp_path / "whole").hashes.tolist()
    done = []

    def dies(task):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(task.number)
        return tasks.hash_chunk(task)

    monkeypatch.setattr(index, "hash_chunk", dies)
    with pytest.raises(KeyboardInterrupt):
        opened(file, folder=tmp_path / "part")
    monkeypatch.setattr(index, "hash_chunk", tasks.hash_chunk)
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "part" / ".parts").glob("*.npz")}
    assert len(stamps) == 3
    kept = []
    monkeypatch.setattr(tasks, "standardize", lambda *a: kept.append(a) or _standardize(*a))
    again = opened(file, folder=tmp_path / "part")
    assert again.hashes.tolist() == whole
    assert len(kept) == len(smiles) - 150
    assert not (tmp_path / "part" / ".parts").exists()


_standardize = tasks.standardize


def test_a_file_that_changed_is_indexed_anew(tmp_path):
    file = put(tmp_path, "t.smi", "\n".join(SMILES))
    assert not opened(file).known(["c1ccccc1"])[0]
    put(tmp_path, "t.smi", "\n".join([*SMILES, *OTHER]))
    assert opened(file).known(["c1ccccc1"])[0]


def test_what_an_index_keeps_of_many_rows_is_an_unbiased_sample(tmp_path, smiles, monkeypatch):
    """Later chunks keep fewer molecules: the sample must not favour the first ones."""
    monkeypatch.setattr(index, "CHUNK", 20)
    for module in (tasks, index):
        monkeypatch.setattr(module, "SAMPLE", 30)
    monkeypatch.setattr(tasks, "CHUNK", 20)
    found = opened(put(tmp_path, "t.smi", "\n".join(smiles)))
    assert [molecule_hash(text) for text in found.sample(30)] == found.hashes[:30].tolist()


def test_hashes_are_searched_and_not_loaded(tmp_path):
    random = np.random.default_rng(0)
    hashes = np.sort(random.integers(0, 2**63, 200_000, dtype=np.uint64))
    hashes = np.insert(hashes, np.searchsorted(hashes, molecule_hash("CCO")), molecule_hash("CCO"))
    hashes.tofile(tmp_path / "h.bin")
    found = MoleculeIndex(tmp_path, np.memmap(tmp_path / "h.bin", dtype="<u8", mode="r"), {})
    assert found.known(["CCO", "CCN", "CCC"]).tolist() == [True, False, False]


def test_a_reference_without_a_molecule_says_why(tmp_path, monkeypatch):
    refused = tasks.Rejected(Reason.NO_HEAVY_ATOM)
    monkeypatch.setattr(tasks, "standardize", lambda *_: refused)
    with pytest.raises(IndexBuildError, match=r"none of its 6 rows is a molecule \(6 no heavy atom"):
        opened(put(tmp_path, "t.smi", "\n".join(SMILES)))


def test_where_the_folder_is_read_only_the_index_lies_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEMSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index.os, "access", lambda *_: False)
    file = put(tmp_path, "t.smi", "\n".join(SMILES))
    assert opened(file).folder.is_relative_to(tmp_path / "cache")
