"""What is one molecule is on one side of a split by molecule, whatever names its frames have."""

import numpy as np
from ase.build import bulk, molecule

from chemscale.structures.blocks import Block
from chemscale.structures.graphs import Structure
from chemscale.structures.preparation import molecules
from chemscale.structures.preparation.building import SplitPolicy, build_store
from chemscale.structures.preparation.molecules import bond_graph
from tests.helpers.structures import ToySource


def block(atoms, name, *, frames=3, seed=0, start=0, noise=0.05):
    random = np.random.default_rng(seed)
    positions = atoms.positions + random.normal(0, noise, (frames, len(atoms), 3))
    crystal = bool(atoms.pbc.any())
    return Block(
        name,
        atoms.numbers,
        positions,
        np.zeros(frames),
        np.zeros_like(positions),
        start + np.arange(frames),
        cells=np.repeat(np.array(atoms.cell)[None], frames, 0) if crystal else None,
        pbc=np.repeat(atoms.pbc[None], frames, 0) if crystal else None,
    )


def store_of(blocks, folder, *, seed=0, share=0.5):
    return build_store(ToySource(blocks), folder, SplitPolicy("molecule", share, seed=seed))


def molecules_in(blocks, folder):
    return store_of(blocks, folder, share=0.0).manifest["counts"]["molecules"]


def graph(atoms):
    return bond_graph(Structure(atoms.numbers, atoms.positions))


def test_temperatures_files_and_orders_of_atoms_do_not_make_another_molecule(tmp_path):
    ethanol, water = molecule("CH3CH2OH"), molecule("H2O")
    turned = ethanol[np.random.default_rng(1).permutation(9)]
    blocks = [block(ethanol, f"{t}K", seed=t, start=3 * t, noise=1e-4 * t) for t in (300, 600, 900)]
    blocks += [block(turned, "run_7/ethanol", seed=7, start=90), block(water, "300K", start=99)]
    assert molecules_in(blocks, tmp_path / "s") == 2


def test_no_molecule_crosses_and_the_names_do_not_matter(tmp_path):
    atoms = [molecule(n) for n in ("H2O", "CH4", "NH3", "CH3OH", "C2H6", "CO2", "CH3CH2OH", "HCOOH", "C2H4")]
    blocks = [block(a, f"{t}K", seed=t, start=9 * i + 3 * t) for t in range(3) for i, a in enumerate(atoms)]
    store = store_of(blocks, tmp_path / "s")
    found = {
        part: {bytes(b.numbers) for b in store.blocks(np.asarray(store.part(part)))}
        for part in ("train", "validation")
    }
    assert found["train"]
    assert found["validation"]
    assert not found["train"] & found["validation"]


def test_isomers_are_molecules_of_their_own_where_the_file_names_them(tmp_path):
    ethanol, ether = molecule("CH3CH2OH"), molecule("CH3OCH3")
    assert molecules_in([block(ethanol, "a"), block(ether, "b", start=9)], tmp_path / "named") == 2
    assert molecules_in([block(ethanol, "C2H6O"), block(ether, "C2H6O", start=9)], tmp_path / "not") == 1


def test_where_bonds_cannot_be_told_the_formula_decides(tmp_path):
    whole, broken = molecule("CH3CH2OH"), molecule("CH3CH2OH")
    broken.positions[-1] += [4.0, 0, 0]
    assert graph(broken) is None
    blocks = [block(whole, "reactant"), block(broken, "transition", start=9)]
    assert molecules_in(blocks, tmp_path / "s") == 1


def test_a_supercell_is_the_same_crystal(tmp_path):
    crystals = [(bulk("Cu"), "Cu"), (bulk("Cu", cubic=True), "Cu4"), (bulk("Ag"), "Ag")]
    blocks = [block(atoms, name, start=9 * i) for i, (atoms, name) in enumerate(crystals)]
    assert molecules_in(blocks, tmp_path / "s") == 2


def test_bonds_do_not_change_with_conformation_or_order():
    ethanol = molecule("CH3CH2OH")
    random = np.random.default_rng(0)
    for _ in range(20):
        moved = ethanol[random.permutation(9)]
        moved.positions += random.normal(0, 0.05, (9, 3))
        moved.rotate(random.uniform(0, 180), random.normal(size=3))
        assert graph(moved) == graph(ethanol)


def test_a_name_of_one_molecule_keeps_the_side_that_it_had_in_version_0_1_0(tmp_path):
    atoms = [molecule(name) for name in ("H2O", "CH4", "NH3", "CH3OH", "C2H6", "CO2")]
    store = store_of([block(a, f"m{i}", start=9 * i) for i, a in enumerate(atoms)], tmp_path / "s")
    assert {b.name for b in store.blocks(np.asarray(store.part("train")))} == {"m0", "m2", "m5"}


def test_the_notes_say_when_nothing_is_held_out(tmp_path):
    blocks = [block(molecule("H2O"), f"{t}K", seed=t, start=3 * t) for t in range(8)]
    store = store_of(blocks, tmp_path / "s", share=0.1)
    assert store.manifest["counts"]["molecules"] == 1
    assert not len(store.part("validation"))
    assert "No frame is left to validate on. Molecules: 1" in store.manifest["notes"][0]


def test_names_whose_bonds_are_looked_at_are_counted_down(tmp_path, monkeypatch):
    bars = []

    class Watched(molecules.ProgressBar):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            bars.append(self)

    monkeypatch.setattr(molecules, "ProgressBar", Watched)
    water, ethanol = molecule("H2O"), molecule("CH3CH2OH")
    blocks = [block(ethanol, f"{t}K", frames=t, seed=t, start=20 * t) for t in (3, 12)]
    assert molecules_in([*blocks, block(water, "300K", start=900)], tmp_path / "s") == 2
    assert [(bar.total, bar.done) for bar in bars] == [(3 + molecules.SAMPLE, 3 + molecules.SAMPLE)]


def test_long_chains_and_rings_of_one_composition_stay_apart():
    def polygon(n):
        turn = 2 * np.pi * np.arange(n) / n
        return np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1) * 0.75 / np.sin(np.pi / n)

    ring, chain = polygon(24), np.stack([1.5 * np.arange(24), np.zeros(24), np.zeros(24)], 1)
    two = np.concatenate([polygon(12), polygon(12) + np.array([9.0, 0, 0])])
    bridged = chain.copy()
    bridged[-1] = chain[1] + [0, 1.5, 0]  # a branch in place of the end
    graphs = [bond_graph(Structure(np.full(24, 6), x)) for x in (ring, chain, two, bridged)]
    assert graphs[2] is None
    assert len(set(graphs)) == 4
    order = np.random.default_rng(0).permutation(24)
    assert bond_graph(Structure(np.full(24, 6), chain[order])) == graphs[1]
