"""The report of a store: its figures are those of the frames, and what is missing is never 0."""

import json

import numpy as np
import pytest
from ase.data import atomic_numbers

from chemscale.points.data_report import frames, geometry
from chemscale.points.data_report.page import FIGURES, PAGE
from chemscale.points.data_report.store import report_store
from chemscale.structures.blocks import Block
from chemscale.structures.lint import Finding
from chemscale.structures.preparation.building import build_store
from chemscale.structures.preparation.splits import SplitPolicy
from tests.helpers.structures import ToySource, toy_blocks

POLICY = SplitPolicy("frame", 0.2, 0.2, 0)
FRAMES = 60


def blocks_with_faults():
    """Water and methanol; some energies and forces are missing, and one force is large."""
    water, methanol = toy_blocks(FRAMES)
    water.name = "<b>water</b>"
    water.energies[:3] = np.nan
    methanol.forces[:2] = np.nan
    methanol.forces[2, 0] = np.nan
    methanol.forces[7, 3] = [300.0, 0, 400.0]
    return [water, methanol]


def crystals():
    """Simple cubic hydrogen in cells of rising size, with stresses of which one is missing."""
    k = 12
    cells = np.array([np.eye(3) * (2 + 0.01 * i) for i in range(k)])
    stresses = np.array([np.eye(3) * -0.01 * i for i in range(k)])
    stresses[0] = np.nan
    return Block(
        name="crystal", numbers=np.array([1]), positions=np.zeros((k, 1, 3)), energies=np.arange(k) * 0.1,
        forces=np.zeros((k, 1, 3)), rows=np.arange(k), cells=cells, pbc=np.ones((k, 3), bool),
        stresses=stresses, charges=np.arange(k) % 2, spins=np.full(k, 2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(ToySource(blocks_with_faults()), tmp_path_factory.mktemp("store") / "s", POLICY)


@pytest.fixture(scope="module")
def content(store):
    findings = [Finding("net force", "warning", "row <1>"), Finding("stress", "not checked", "none")]
    report_store(store, "fit", findings)
    return json.loads((store.path / FIGURES).read_text())


def of(content, name):
    return next(each for each in content["distributions"] if each["name"] == name)


def test_parts_stand_beside_each_other_and_add_up(content):
    assert list(content["parts"]) == ["train", "validation", "test"]
    total = {key: sum(part[key] for part in content["parts"].values()) for key in content["parts"]["train"]}
    assert total["frames"] == content["counts"]["frames"] == 2 * FRAMES
    assert total["with_energy"] == 2 * FRAMES - 3
    assert total["with_forces"] == 2 * FRAMES - 3
    assert total["with_some_forces"] == 1
    assert total["atoms"] == 9 * FRAMES


def test_what_is_missing_is_counted_and_never_0(store, content):
    energy = of(content, "energy")
    assert sum(part["missing"] for part in energy["parts"].values()) == 3
    everything = np.concatenate([store.energies(np.asarray(store.part(p))) for p in content["parts"]])
    largest = max(part["largest"] for part in energy["parts"].values())
    assert largest == pytest.approx(np.nanmax(everything))
    assert largest < -1000
    components = of(content, "force component")["parts"].values()
    assert sum(part["missing"] for part in components) == 3 * (2 * 6 + 1)
    assert any("never 0" in remark for remark in content["remarks"])


def test_the_largest_force_is_named_with_its_frame_and_element(content):
    first = content["extremes"]["forces"][0]
    assert (first["value"], first["where"], first["element"]) == (500.0, f"methanol, row {FRAMES + 7}", "H")
    hydrogen = next(e for e in content["elements"] if e["element"] == "H")["parts"]
    assert max(p["force_largest"] for p in hydrogen.values() if p["force_largest"]) == 500.0


def test_energies_less_references_are_what_compositions_leave(store, content):
    train = np.asarray(store.part("train"))
    energies = {atomic_numbers[s]: e for s, e in content["references"]["energies"].items()}
    rest = [
        (store.energies(np.array([f]))[0] - sum(energies[int(z)] for z in store.numbers(f)))
        / store.sizes[f]
        for f in train
    ]  # fmt: skip
    shown = of(content, "energy per atom, less references")["parts"]["train"]
    assert shown["mean"] == pytest.approx(np.nanmean(rest), abs=1e-6)
    assert shown["deviation"] == pytest.approx(np.nanstd(rest), rel=1e-6)


def test_references_that_are_not_determined_are_said_and_replaced(content):
    notes = " ".join(content["references"]["notes"])
    assert "not determined" in notes
    assert "minimum_norm" in notes


def test_distances_are_the_shortest_of_their_pair(store, content):
    pair = next(p for p in content["geometry"]["pairs"] if p["pair"] == "H–O")
    shortest = min(
        np.linalg.norm(s.positions[i] - s.positions[j])
        for s in map(store.structure, range(len(store)))
        for i in np.flatnonzero(s.numbers == 1)
        for j in np.flatnonzero(s.numbers == 8)
    )
    assert pair["least"] == pytest.approx(shortest)
    assert pair["frames"] == 2 * FRAMES


def test_names_and_findings_of_strangers_stay_text(store, content):
    text = (store.path / PAGE).read_text()
    assert "<b>" not in text
    assert "row &lt;1&gt;" in text
    assert "&lt;b&gt;water" in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_the_same_store_gives_the_same_bytes_in_any_blocks(store, content, monkeypatch):
    before = {name: (store.path / name).read_bytes() for name in (PAGE, FIGURES)}
    findings = [Finding("net force", "warning", "row <1>"), Finding("stress", "not checked", "none")]
    report_store(store, "fit", findings)
    assert before == {name: (store.path / name).read_bytes() for name in (PAGE, FIGURES)}
    monkeypatch.setattr(frames, "ATOMS_AT_ONCE", 40)
    report_store(store, "fit", findings)
    assert before == {name: (store.path / name).read_bytes() for name in (PAGE, FIGURES)}


def test_crystals_have_stresses_pressures_and_volumes(tmp_path):
    store = build_store(ToySource([crystals()]), tmp_path / "s", SplitPolicy("frame", 0.25, 0.0, 0))
    page = report_store(store, "none", None)
    made = json.loads((store.path / FIGURES).read_text())
    parts = made["parts"].values()
    assert sum(p["with_stress"] for p in parts) == sum(p["periodic"] for p in parts) - 1 == 11
    pressure = of(made, "pressure")["parts"].values()
    assert max(p["largest"] for p in pressure) == pytest.approx(0.11 * 160.2177, rel=1e-5)
    volume = of(made, "volume per atom")["parts"].values()
    assert min(p["least"] for p in volume) == pytest.approx(8.0)
    assert min(p["least"] for p in made["geometry"]["pairs"]) == pytest.approx(2.0)  # its own image
    assert {(e["charge"], e["multiplicity"]) for e in made["electrons"]["first"]} == {(0, 2), (1, 2)}
    assert "lint=off" in page.read_text()
    assert "no stress" in page.read_text()


def test_frames_without_any_energy_and_outside_a_published_split_are_said(tmp_path):
    blocks = toy_blocks(10)
    for block in blocks:
        block.energies[:] = np.nan
    published = {"train": np.arange(5), "validation": np.arange(10, 14), "test": np.zeros(0, int)}
    store = build_store(ToySource(blocks, published), tmp_path / "s", POLICY)
    page = report_store(store, "fit", [])
    made = json.loads((store.path / FIGURES).read_text())
    assert made["counts"]["in_no_part"] == 11
    assert not any(each["name"] == "energy" for each in made["distributions"])
    assert made["extremes"]["highest"] == []
    assert made["references"]["energies"] == {}
    assert "that training does not have: C" in page.read_text()


def test_a_sample_of_frames_says_so(store, content, monkeypatch):
    before = {name: (store.path / name).read_bytes() for name in (PAGE, FIGURES)}
    monkeypatch.setattr(geometry, "SAMPLE", 10)
    text = report_store(store, "fit", []).read_text()
    for name, old in before.items():
        (store.path / name).write_bytes(old)
    assert f"a random sample of 10 of {2 * FRAMES} frames" in text


def test_numbers_of_a_sample_are_added_up_once_and_not_by_frame(store, monkeypatch):
    made, add = [], geometry.Values.add
    monkeypatch.setattr(geometry.Values, "add", lambda self, numbers: made.append(1) or add(self, numbers))
    part_of = np.zeros(len(store), np.int8)
    found = geometry.look_at_geometry(store, part_of, ("train",))
    assert len(made) == 2 + len(found.pairs)
    assert found.neighbours["train"].count == int(store.offsets[-1])
    assert {values.count for values in found.pairs.values()} == {FRAMES, 2 * FRAMES}
