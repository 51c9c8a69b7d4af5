"""A comparison finds what a plain look at all pairs finds, whatever processes and interruptions there are."""

import itertools
import random

import numpy as np
import pytest

from chemscale.common.progress import ProgressBar
from chemscale.molecules.metrics.intervals import share
from chemscale.molecules.overlap import search as searching
from chemscale.molecules.overlap import targets as reading
from chemscale.molecules.overlap.keys import Compared, Level
from chemscale.molecules.overlap.search import Found, search
from chemscale.molecules.overlap.sets import MoleculeFiles
from chemscale.molecules.overlap.targets import OverlapError, Targets, draw_sample
from chemscale.molecules.preparation.standardize import ANY_LENGTH, standardize
from tests.helpers.molecule_files import put

CORES = (
    "c1ccc({})cc1{}",
    "c1cc({})ncc1{}",
    "C1CC({})CCN1{}",
    "O=C(N{})C{}",
    "c1ccc2c({})cc({})cc2c1",
    "CC({})C{}",
)
GROUPS = ("C", "CC", "N", "O", "OC", "F", "Cl", "C(=O)O", "C#N", "C(F)(F)F", "N1CCOCC1")


@pytest.fixture(scope="module")
def texts():
    made = [core.format(a, b) for core, a, b in itertools.product(CORES, GROUPS, GROUPS)]
    distinct = sorted({standardize(text, ANY_LENGTH).smiles for text in made})
    return random.Random(0).sample(distinct, 560)


def compared(folder, training, *benchmarks, most=1000, workers=1, name="state"):
    files = [folder / f"{i}.smi" for i in range(1 + len(benchmarks))]
    for path, rows in zip(files, (training, *benchmarks), strict=True):
        if not path.exists() or path.read_text().split() != list(rows):
            put(folder, path.name, "\n".join(rows) + "\n")
    sets = [MoleculeFiles(path.name, [path]) for path in files]
    targets = Targets.read(sets[1:], most=most, silent=True)
    return targets, search(sets[0], targets, folder / name, workers=workers, silent=True)


def plain(found: Found):
    hits = {
        level: sorted((key, hit.count, hit.row, hit.smiles) for key, hit in of.items())
        for level, of in found.hits.items()
    }
    return hits, found.best.tolist(), found.nearest, found.rows, dict(found.refused), dict(found.agreeing)


def test_what_is_found_is_what_all_pairs_show(texts, tmp_path):
    training, benchmark = texts[:400], [*texts[350:450], "CC(=O)[O-].[Na+]", "nonsense"]
    targets, found = compared(tmp_path, [*training, "CC(=O)O", "CC(=O)O"], benchmark)
    known = [Compared(standardize(text, ANY_LENGTH).smiles) for text in [*training, "CC(=O)O"]]
    for number, level in enumerate(Level):
        keys = {each.key(level) for each in known} - {0}
        expected = {int(key) for key in targets.keys[:, number]} & keys
        sorted_keys = np.unique(targets.keys[:, number])
        sorted_keys = sorted_keys[sorted_keys > 0]
        assert {int(sorted_keys[place]) for place in found.hits[level]} == expected
    (of,) = targets.benchmarks
    assert dict(of.refused) == {"unparsable": 1}
    assert found.agreeing[Level.IDENTICAL] == 50  # the salt of the benchmark is no training molecule
    assert found.agreeing[Level.PARENT] >= 52  # both rows of the acid, and tautomers
    similar = np.array([_tanimoto(Compared(targets.smiles[i]), known) for i in targets.sampled])
    np.testing.assert_allclose(found.best, similar[targets.bits.order], atol=1e-12)


def _tanimoto(one, others):
    own = set(one.bits)
    return max(len(own & set(each.bits)) / max(1, len(own | set(each.bits))) for each in others)


def test_processes_and_chunks_do_not_show(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "CHUNK", 50)
    _, one = compared(tmp_path, texts[:300], texts[250:400], name="one")
    _, two = compared(tmp_path, texts[:300], texts[250:400], name="two", workers=2)
    monkeypatch.setattr(searching, "CHUNK", 1000)
    _, whole = compared(tmp_path, texts[:300], texts[250:400], name="whole")
    assert plain(one) == plain(two) == plain(whole)


def test_an_interrupted_comparison_goes_on(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "CHUNK", 50)
    _, whole = compared(tmp_path, texts[:300], texts[250:400], name="whole")
    add, looked = Found.add, []

    def stop(self, result):
        if len(looked) == 3:
            raise KeyboardInterrupt
        looked.append(result)
        add(self, result)

    monkeypatch.setattr(Found, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path, texts[:300], texts[250:400])
    assert Found.read(tmp_path / "state" / "state.npz").chunks == 3
    seen = []
    monkeypatch.setattr(Found, "add", lambda self, result: (seen.append(result), add(self, result)))
    _, resumed = compared(tmp_path, texts[:300], texts[250:400])
    assert len(seen) == 3  # three of six were there
    assert plain(resumed) == plain(whole)


def test_a_state_of_another_training_set_is_not_continued(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "CHUNK", 50)
    state = tmp_path / "state"
    _, other = compared(tmp_path, texts[:100], texts[250:400], name="other")
    state.mkdir()
    other.write(state / "state.npz")
    (state / "identity.json").write_text("{}")
    _, found = compared(tmp_path, texts[300:400], texts[250:400])
    assert found.rows == 100
    assert found.agreeing[Level.IDENTICAL] == 100


def test_fingerprints_of_many_are_made_by_all_processes_and_show_progress(texts, tmp_path, monkeypatch):
    path = put(tmp_path, "b.smi", "\n".join(texts[:30]) + "\n")
    sets = [MoleculeFiles("b.smi", [path])]
    one = Targets.read(sets, most=30, silent=True)
    used, shown, ordered_map, update = [], {}, reading.ordered_map, ProgressBar.update
    monkeypatch.setattr(reading, "CHUNK", 10)
    monkeypatch.setattr(
        reading, "ordered_map", lambda f, tasks, workers: used.append(workers) or ordered_map(f, tasks, 1)
    )
    monkeypatch.setattr(
        ProgressBar, "update", lambda bar, *a: shown.update({bar.title: a[0]}) or update(bar, *a)
    )
    many = Targets.read(sets, most=30, workers=4, silent=True)
    assert np.array_equal(many.bits.table, one.bits.table)
    assert (used, shown["fingerprints"]) == ([4, 4], 30)


def test_a_set_without_a_molecule_is_refused_by_name(tmp_path):
    path = put(tmp_path, "bad.csv", "smiles\n" + "CCO\n" * 3 + "C1CC\n")
    empty = put(tmp_path, "none.csv", "smiles\n" + "[*]CC\n" * 30)
    targets = Targets.read([MoleculeFiles("bad.csv", [path])], most=10, silent=True)
    assert len(targets.smiles) == 1
    with pytest.raises(OverlapError, match=r"none\.csv: no row of it is a molecule"):
        Targets.read([MoleculeFiles("none.csv", [empty])], most=10, silent=True)


def test_shares_of_a_sample_have_intervals_that_hold(texts, tmp_path):
    """Of 400 samples of a benchmark, some 95 % of the intervals hold the share of the whole one."""
    targets, found = compared(tmp_path, texts[:200], texts[150:])
    whole = (found.best >= 0.7).mean()
    assert 0.1 < whole < 0.9
    held = 0
    (of,) = targets.benchmarks
    of_place = dict(zip(targets.sampled[targets.bits.order].tolist(), found.best.tolist(), strict=True))
    for seed in range(400):
        again = draw_sample(of.distinct(), targets.keys[:, 0], 80, seed)
        assert len(again) == 80
        value = share(sum(of_place[place] >= 0.7 for place in again.tolist()), 80)
        held += value.low <= whole <= value.high
    assert held >= 370
