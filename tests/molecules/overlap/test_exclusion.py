"""A corpus is made without the molecules of other sets, whatever they are written as."""

import csv
import gzip
import logging

import numpy as np
import pytest

from chemscale.common.progress import ProgressBar
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.overlap import exclusion
from chemscale.molecules.overlap.exclusion import Exclusion
from chemscale.molecules.overlap.keys import Level
from chemscale.molecules.overlap.sets import CorpusMolecules, MoleculeFiles
from chemscale.molecules.overlap.targets import OverlapError
from chemscale.molecules.preparation import build as building
from chemscale.molecules.preparation.build import build_corpus, corpus_key
from chemscale.molecules.preparation.request import Request
from chemscale.molecules.preparation.sharing.work import CompleteError, Shared
from chemscale.molecules.preparation.standardize import Policy, Reason
from tests.helpers.molecule_files import put

PAIRS = [  # of the corpus, of the benchmark, the level from which on it is left out
    ("OCCS", "C(O)CS", Level.IDENTICAL),
    ("C[C@H](N)C(=O)O", "CC(N)C(=O)O", Level.CONNECTIVITY),
    ("[13CH3]CCO", "CCCO", Level.CONNECTIVITY),
    ("CCC(=O)[O-].[Na+]", "CCC(=O)O", Level.PARENT),
    ("Oc1ccccn1", "O=c1cccc[nH]1", Level.PARENT),
    ("Cc1ccc2ccccc2c1", "Oc1cccc2ccccc12", Level.SCAFFOLD),
    ("CCCCCCCCCCCCO", "CCCCCCCCCCCCCO", None),
]
OTHERS = [f"{'C' * n}{end}" for n in range(2, 22) for end in ("N", "F", "Cl", "Br")]


@pytest.fixture
def files(tmp_path):
    training = put(tmp_path, "train.smi", "\n".join([*(pair[0] for pair in PAIRS), *OTHERS]) + "\n")
    benchmark = put(tmp_path, "bench.smi", "\n".join([*(pair[1] for pair in PAIRS), "C1CC"]) + "\n")
    return training, benchmark


def dropped(corpus):
    with gzip.open(corpus.path / "dropped.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["reason"] == Reason.EXCLUDED.value]
    return {int(row["row"]): row["detail"] for row in rows}


def build(files, target, level, policy=None, **options):
    excluded = Exclusion.of((MoleculeFiles("bench.smi", [files[1]]),), level)
    return build_corpus([files[0]], target, policy=policy, exclude=excluded, workers=1, **options)


@pytest.mark.parametrize("level", list(Level))
def test_a_level_leaves_out_what_agrees_at_it_or_at_a_stricter_one(files, tmp_path, level):
    corpus = build(files, tmp_path / "c", level.value)
    order = list(Level)
    expected = {
        row: pair[2].value
        for row, pair in enumerate(PAIRS, 1)
        if pair[2] and order.index(pair[2]) <= order.index(level)
    }
    assert {row: detail.split(":")[0] for row, detail in dropped(corpus).items()} == expected
    assert all(detail.endswith(f"bench.smi:{row}") for row, detail in dropped(corpus).items())
    assert corpus.manifest["counts"]["dropped"] == {Reason.EXCLUDED.value: len(expected)}


def test_a_similarity_leaves_out_what_is_as_similar_and_one_parent_too(files, tmp_path):
    corpus = build(files, tmp_path / "c", 0.99)
    assert 7 in dropped(corpus)  # dodecanol has the bits of tridecanol
    assert set(dropped(corpus)) >= {1, 2, 3, 4, 5}
    assert 6 not in dropped(corpus)


def test_a_set_too_large_for_a_similarity_is_refused_and_not_sampled(files, tmp_path, monkeypatch):
    monkeypatch.setattr(exclusion, "MOST", 3)
    with pytest.raises(OverlapError, match=r"bench.smi: 7 distinct molecules.* at most 3 .*exclude_level"):
        build(files, tmp_path / "c", 0.99)
    assert len(dropped(build(files, tmp_path / "d", "parent"))) == 5


def test_a_policy_of_the_corpus_hides_no_molecule_of_a_benchmark(tmp_path):
    training = put(tmp_path, "t.smi", "\n".join(["C[C@H](N)CO", "CCC(=O)[O-].[Na+]", *OTHERS]) + "\n")
    benchmark = put(tmp_path, "b.smi", "C[C@@H](N)CO\nCCC(=O)[O-].[Na+]\n")
    policy = Policy(stereo="strip", salts="largest", charge="neutralize")
    corpus = build((training, benchmark), tmp_path / "c", "identical", policy)
    assert set(dropped(corpus)) == {1, 2}


def test_processes_do_not_show(files, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK_ROWS", 16)
    excluded = Exclusion.of((MoleculeFiles("bench.smi", [files[1]]),), "scaffold")
    one = build_corpus([files[0]], tmp_path / "one", exclude=excluded, workers=1)
    two = build_corpus([files[0]], tmp_path / "two", exclude=excluded, workers=2)
    assert one.hash == two.hash
    assert (one.path / "dropped.csv.gz").read_bytes() == (two.path / "dropped.csv.gz").read_bytes()


def test_an_interrupted_build_goes_on(files, tmp_path, monkeypatch):
    whole = build(files, tmp_path / "whole", "scaffold")
    monkeypatch.setattr(building, "_encode", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(files, tmp_path / "c", "scaffold")
    monkeypatch.undo()
    written = (tmp_path / "c" / ".build" / "exclude" / "about.json").stat().st_mtime_ns
    monkeypatch.setattr(building.shutil, "rmtree", lambda path, **_: None)
    again = build(files, tmp_path / "c", "scaffold")
    assert (tmp_path / "c" / ".build" / "exclude" / "about.json").stat().st_mtime_ns == written
    assert again.hash == whole.hash


def test_the_key_changes_with_what_is_left_out_and_else_is_as_it_was(files):
    def key(level=None, path=files[1]):
        exclude = None if level is None else Exclusion.of((MoleculeFiles("b", [path]),), level)
        return corpus_key([files[0]], exclude=exclude)

    assert key() == corpus_key([files[0]])
    assert len({key(), key("identical"), key("parent"), key(0.9), key("parent", files[0])}) == 5
    assert key("parent") == key("parent")


def test_who_joins_when_others_have_finished_reads_no_set_again(files, tmp_path):
    build(files, tmp_path / "c", "parent")
    folder, late = tmp_path / "c" / ".build", Shared("late")
    late.begin(folder, tmp_path / "c")
    excluded = Exclusion.of((MoleculeFiles("bench.smi", [files[1]]),), "parent")
    request = Request((files[0],), Policy(), None, 0.02, None, exclude=excluded)
    with pytest.raises(CompleteError):
        building._exclude(request, folder / "exclude", 1, late)
    late.end()
    assert not (folder / "exclude").exists()


def test_a_corpus_can_be_left_out(files, tmp_path):
    build_corpus([files[0]], tmp_path / "known", workers=1, validation_fraction=0.3)
    more = put(tmp_path, "more.smi", "\n".join([*OTHERS, *(f"{text}C#C" for text in ("O", "N", "S"))]) + "\n")
    excluded = Exclusion.of((CorpusMolecules("known", tmp_path / "known"),), "identical")
    corpus = build_corpus([more], tmp_path / "c", exclude=excluded, workers=1, validation_fraction=0.3)
    assert len(dropped(corpus)) == len(OTHERS)
    assert isinstance(Corpus.open(corpus.path), Corpus)


def test_rows_that_are_no_molecules_and_leave_out_nothing_are_told(files, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        build(files, tmp_path / "c", "parent")
    line = len(PAIRS) + 1
    expected = "bench.smi: rows that are no molecules leave out nothing: 1 unparsable; the first is bench.smi"
    assert f"{expected}, line {line}." in caplog.text


def test_files_of_one_name_are_told_apart(tmp_path):
    sets = []
    for folder, text in (("a", "OCCS"), ("b", "CCCO")):
        (tmp_path / folder).mkdir()
        path = put(tmp_path / folder, "test.smi", f"{text}\nNCCCCN\n")
        sets.append(MoleculeFiles(f"{folder}/test.smi", [path]))
    training = put(tmp_path, "train.smi", "\n".join(["OCCS", "CCCO", *OTHERS]) + "\n")
    corpus = build_corpus(
        [training], tmp_path / "c", exclude=Exclusion.of(tuple(sets), "identical"), workers=1
    )
    assert dropped(corpus) == {
        1: "identical: test.smi of a/test.smi:1",
        2: "identical: test.smi of b/test.smi:1",
    }


def test_progress_counts_rows_and_not_their_variants(tmp_path, monkeypatch):
    path = put(tmp_path, "b.smi", "C[C@@H](N)CO\nC[C@H](F)Cl\n")
    shown, update = [], ProgressBar.update
    monkeypatch.setattr(ProgressBar, "update", lambda self, *a: shown.append(a[0]) or update(self, *a))
    excluded = Exclusion.of((MoleculeFiles("b.smi", [path]),), "identical")
    excluded.write(tmp_path / "out", Policy(stereo="strip"), 1)
    assert max(shown) == 2
    assert len(np.load(tmp_path / "out" / "identical.npy")) == 4


@pytest.mark.parametrize("level", ["paernt", 0.0, 1.5, True])
def test_a_level_that_there_is_not_is_refused_with_those_that_there_are(files, level):
    with pytest.raises(OverlapError, match=r"data\.exclude_level="):
        Exclusion.of((MoleculeFiles("b", [files[1]]),), level)
