"""SELFIES read symbol by symbol: as many atoms as selfies itself makes, whatever the symbols."""

import random

import pytest
import selfies
from rdkit import Chem, rdBase

from chemscale.molecules.tokenizers.derivation import Derivation, State
from chemscale.molecules.tokenizers.notation import Representation, TokenizerError
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer

MORE = [".", "[/C]", "[#Branch2]", "[Branch3]", "[=Ring2]", "[2H]", "[NH1]", "[nop]"]


@pytest.fixture(scope="module")
def tokenizer():
    return SelfiesTokenizer.from_symbols([*selfies.get_semantic_robust_alphabet(), *MORE], stereo=True)


def read(derivation, ids):
    state = State()
    for number in ids:
        state = derivation.advance(state, number)
    return state


def test_atoms_are_counted_exactly_and_rings_never_too_few(tokenizer):
    """Random symbols: full of branches within branches, lengths that lack, atoms that are not read."""
    derivation, draw = Derivation(tokenizer), random.Random(0)
    nesting = [tokenizer.symbol_id(s) for s in tokenizer.symbols if "Branch" in s or "Ring" in s]
    several = 0
    for _ in range(2000):
        kinds = [draw.choice(nesting) if draw.random() < 0.4 else draw.randrange(4, tokenizer.vocab_size)]
        kinds += draw.choices([*nesting, *range(4, tokenizer.vocab_size)], k=draw.randint(1, 30))
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(tokenizer.to_smiles(kinds), sanitize=False)
        state = read(derivation, kinds)
        assert state.heavy_atoms == sum(atom.GetAtomicNum() > 1 for atom in molecule.GetAtoms())
        fragments = len(Chem.GetMolFrags(molecule))
        assert molecule.GetNumBonds() - molecule.GetNumAtoms() + fragments <= state.rings
        several += state.heavy_atoms > 5
    assert several > 200


@pytest.mark.parametrize("smiles", ["c1ccc2ccccc2c1", "CC(C)(C)OC(=O)N1CCC(C#N)CC1", "C1CC2CCC1C2"])
def test_rings_of_a_molecule_that_was_encoded_are_exact(tokenizer, smiles):
    molecule = Chem.MolFromSmiles(smiles)
    state = read(Derivation(tokenizer), tokenizer.from_smiles(smiles))
    assert (state.heavy_atoms, state.rings) == (
        molecule.GetNumHeavyAtoms(),
        molecule.GetRingInfo().NumRings(),
    )


def test_another_notation_is_refused_by_name(tokenizer):
    class Other:
        representation = Representation("deepsmiles", "", tokenizer.representation.constraints, stereo=False)

    with pytest.raises(TokenizerError, match="deepsmiles"):
        Derivation(Other())
