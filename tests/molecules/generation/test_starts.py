"""What molecules begin with: prompts in either notation, scaffolds from each of their atoms."""

import pytest
import selfies
from rdkit import Chem

from chemscale.molecules.generation.starts import PromptError, prompt_start, scaffold_starts
from chemscale.molecules.tokenizers.derivation import Derivation, State
from chemscale.molecules.tokenizers.notation import UnknownSymbolError
from chemscale.molecules.tokenizers.tokenizer import SelfiesTokenizer


@pytest.fixture(scope="module")
def wide():
    """Every symbol that a drug-like scaffold needs."""
    return SelfiesTokenizer.from_symbols([*selfies.get_semantic_robust_alphabet(), "[NH1]"], stereo=False)


def test_a_prompt_may_be_selfies_or_smiles(wide):
    expected = wide.encode("[C][C][=Branch1][C][=O][N]")
    assert prompt_start(wide, "[C][C][=Branch1][C][=O][N]").ids == tuple(expected)
    assert prompt_start(wide, " CC(=O)N ").ids == tuple(expected)


@pytest.mark.parametrize("text", ["c1cc(", "", "water"])
def test_a_prompt_in_no_notation_is_refused(wide, text):
    with pytest.raises(PromptError, match="neither text in the notation of this model"):
        prompt_start(wide, text)


@pytest.mark.parametrize(("text", "symbol"), [("[C][Foo]", r"\[Foo\]"), ("C[Xe]C", r"\[Xe\]")])
def test_an_unknown_symbol_of_a_prompt_is_named(wide, text, symbol):
    with pytest.raises(UnknownSymbolError, match=symbol):
        prompt_start(wide, text)


@pytest.mark.parametrize(
    ("smiles", "starts"),
    [
        ("c1ccccc1", 1),  # all atoms are alike
        ("c1ccc(*)nc1", 1),
        ("*c1ccc(*)nc1", 2),
        ("c1ccncc1", 3),
        ("O=C1CCCN1", 4),
        ("*n1cccc1", 1),
        ("c1ccc2[nH]ccc2c1", 7),
    ],
)
def test_a_scaffold_ends_once_with_each_atom_that_can_carry_more(wide, smiles, starts):
    found = scaffold_starts(wide, smiles)
    assert len(found.starts) == starts
    derivation = Derivation(wide)
    for start in found.starts:
        assert Chem.CanonSmiles(wide.to_smiles(start.ids)) == found.smiles
        grown = wide.to_smiles([*start.ids, wide.symbol_id("[F]")])
        assert grown.count("F") == 1
        assert found.is_in(Chem.MolFromSmiles(grown))
        state = State()
        for number in start.ids:
            state = derivation.advance(state, number)
        assert state.bonds > 0
    grown = {Chem.CanonSmiles(wide.to_smiles([*s.ids, wide.symbol_id("[F]")])) for s in found.starts}
    assert len(grown) == starts  # each another molecule


@pytest.mark.parametrize(
    ("smiles", "told"),
    [
        ("c1cc(", "RDKit cannot read it"),
        ("c1ccccc1.C", "several fragments"),
        ("FC(F)(F)F", "no atom of it has a hydrogen"),
        ("*", "no atom of it has a hydrogen"),
    ],
)
def test_a_scaffold_that_cannot_be_decorated_is_refused(wide, smiles, told):
    with pytest.raises(PromptError, match=told):
        scaffold_starts(wide, smiles)


def test_a_scaffold_of_symbols_that_the_model_lacks_is_refused_by_symbol(tokenizer):
    with pytest.raises(UnknownSymbolError, match=r"\[P\].*--scaffold CCPCC"):
        scaffold_starts(tokenizer, "CCPCC")
