"""Splits keep scaffolds and equal molecules together, have an id, and can be given again."""

import numpy as np
import pytest

from chemscale.probing.data import ProbeError, read_labelled
from chemscale.probing.splits import make_split, scaffolds, write_index
from tests.helpers.molecule_files import put
from tests.helpers.paths import real_data


@pytest.fixture(scope="module")
def data(table, encoder):
    return read_labelled(table, encoder, tasks=["heavy"])


@pytest.fixture(scope="module")
def of(data):
    return scaffolds(data.smiles)


def parts_of(split, keys):
    found = {}
    for key, part in zip(keys, split.parts.tolist(), strict=True):
        found.setdefault(key, set()).add(part)
    return found


@pytest.mark.parametrize("rule", ["scaffold", "scaffold-shuffled"])
def test_a_scaffold_stands_in_one_part(data, of, rule):
    split = make_split(data, rule, 0, of)
    assert all(len(parts) == 1 for parts in parts_of(split, of).values())
    assert np.bincount(split.parts, minlength=3)[0] <= 0.8 * len(data)


def test_the_scaffold_split_fills_the_largest_scaffolds_first(data, of):
    """Of equal ones the last is first: DeepChem sorts sizes and first indices downwards."""
    sizes = {key: of.count(key) for key in of}
    first = {key: of.index(key) for key in reversed(of)}
    order = sorted(sizes, key=lambda key: (sizes[key], first[key]), reverse=True)
    split, n = make_split(data, "scaffold", 0, of), len(data)
    filled = [0, 0, 0]
    for key in order:
        part = 0 if filled[0] + sizes[key] <= 0.8 * n else 1
        if part and sum(filled[:2]) + sizes[key] > 0.9 * n:
            part = 2
        filled[part] += sizes[key]
        assert parts_of(split, of)[key] == {part}, key


def test_the_fixed_split_has_one_id_and_drawn_ones_have_one_a_seed(data, of):
    assert make_split(data, "scaffold", 0, of).id == make_split(data, "scaffold", 5, of).id
    for rule in ("random", "scaffold-shuffled"):
        ids = [make_split(data, rule, seed, of).id for seed in (0, 0, 1)]
        assert ids[0] == ids[1] != ids[2]


def test_equal_molecules_stand_in_one_part_of_a_random_split(tmp_path, encoder):
    lines = [f"{'C' * (i % 30 + 1)}O,{i}" for i in range(90)]
    repeated = read_labelled(put(tmp_path, "a.csv", "\n".join(["smiles,y", *lines])), encoder)
    split = make_split(repeated, "random", 0, scaffolds(repeated.smiles))
    assert repeated.repeated == 60
    assert all(len(parts) == 1 for parts in parts_of(split, repeated.smiles).values())


def test_an_index_file_gives_the_same_split(data, of, tmp_path):
    splits = [make_split(data, "random", seed, of) for seed in (0, 1)]
    write_index(tmp_path / "index.csv", data, splits, of)
    for seed, split in enumerate(splits):
        again = make_split(data, str(tmp_path / "index.csv"), seed, of)
        assert (again.id, again.rule) == (split.id, "index.csv")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("row,part\n1,train\n", "molecules stand in no part"),
        ("row,part\n1,training\n", "line 2: row '1' in part 'training'"),
        ("a,b\n1,2\n", "no index file"),
        ("", "no index file"),
    ],
)
def test_an_index_file_of_something_else_is_refused(data, of, tmp_path, content, why):
    with pytest.raises(ProbeError, match=why):
        make_split(data, str(put(tmp_path, "index.csv", content)), 0, of)


def test_a_rule_that_there_is_not_and_too_few_scaffolds_are_refused(data, of, tmp_path, encoder):
    with pytest.raises(ProbeError, match=r"choose scaffold, scaffold-shuffled, random"):
        make_split(data, "stratified", 0, of)
    few = read_labelled(put(tmp_path, "a.csv", "smiles,y\nCCO,1\nCCN,2\nCCCO,3\n"), encoder)
    with pytest.raises(ProbeError, match="nothing for train"):
        make_split(few, "scaffold", 0, scaffolds(few.smiles))


def test_scaffolds_of_real_molecules_are_those_of_deepchem():
    """Its rule is MurckoScaffoldSmiles without chirality; a molecule without a ring has an empty one."""
    import gzip

    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with gzip.open(real_data("molecules/zinc_train.smi.gz"), "rt") as file:
        smiles = [next(file).split()[0] for _ in range(50)]
    expected = [
        MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(s), includeChirality=False) for s in smiles
    ]
    assert scaffolds(smiles) == expected
    assert scaffolds(["CCO"]) == [""]
