"""A model, and a table of molecules whose labels are known functions of them."""

import pytest
from rdkit import Chem

from chemscale.molecules.descriptors import descriptor
from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.encoding import Encoder, longest_molecule
from tests.helpers.models import save_random_model

RINGS = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "C1CCOCC1", "c1ccsc1", "C1CCC1", "c1ccc2ccccc2c1"]
CHAINS = ["O", "N", "CO", "CCO", "CCN", "CC(=O)O", "C(=O)N", "CCCC", "OC", "CC(C)C", "F", "Cl"]
MOLECULES = [f"{chain}{ring}" for ring in RINGS for chain in CHAINS] + ["C" * n + "O" for n in range(1, 25)]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("probed") / "model", MOLECULES)


@pytest.fixture(scope="session")
def encoder(model):
    opened, tokenizer = load_trained(model, "cpu")
    return Encoder.of(tokenizer, longest_molecule(model, opened.config))


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """SMILES, an identifier, a number, and two classes of which every third label is missing."""
    path = tmp_path_factory.mktemp("labels") / "made.csv"
    lines = ["smiles,mol_id,heavy,ring,nitrogen"]
    for i, text in enumerate(MOLECULES):
        molecule = Chem.MolFromSmiles(text)
        ring = int(descriptor("rings").of(molecule) > 0) if i % 3 else ""
        lines.append(f"{text},m{i},{molecule.GetNumHeavyAtoms()},{ring},{int('N' in text)}")
    path.write_text("\n".join(lines) + "\n")
    return path
