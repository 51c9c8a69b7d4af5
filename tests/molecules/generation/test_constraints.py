"""Constraints hold for every molecule, in our sampler and in transformers."""

import pytest
import torch
from rdkit import Chem

from chemscale.molecules.generation.constraints import Forbidden, Limits, MinimumLength
from chemscale.molecules.generation.sampling import Sampling, batch_generator, sample_batch
from chemscale.molecules.loading import load_trained
from chemscale.molecules.tokenizers.notation import UnknownSymbolError


@pytest.fixture(scope="module")
def model(folder):
    return load_trained(folder, "cpu")[0]


def drawn(model, processors, number=64, start=()):
    generator = batch_generator(0, 0, torch.device("cpu"))
    return sample_batch(model, number, Sampling(), generator, processors=processors, start=start)


def molecules(tokenizer, sequences):
    found = [Chem.MolFromSmiles(tokenizer.to_smiles(ids), sanitize=False) for ids in sequences]
    for molecule in found:
        Chem.FastFindRings(molecule)
    return found


def rings(molecule):
    return molecule.GetNumBonds() - molecule.GetNumAtoms() + len(Chem.GetMolFrags(molecule))


def test_no_molecule_has_more_heavy_atoms_or_rings_than_asked_for(model, tokenizer):
    free = molecules(tokenizer, drawn(model, []))
    assert max(m.GetNumHeavyAtoms() for m in free) > 7
    assert max(map(rings, free)) > 1
    held = molecules(tokenizer, drawn(model, [Limits(tokenizer, heavy_atoms=6, rings=1)]))
    assert max(m.GetNumHeavyAtoms() for m in held) == 6
    assert max(map(rings, held)) == 1


def test_symbols_that_are_forbidden_are_never_written(model, tokenizer):
    symbols = ["[F]", "[=C]", "."]
    written = [tokenizer.decode(ids) for ids in drawn(model, [Forbidden(tokenizer, symbols)])]
    assert any("[C]" in text for text in written)
    assert not any(symbol in text for text in written for symbol in symbols)
    with pytest.raises(UnknownSymbolError, match=r"\[Br\] is not in the vocabulary.*--forbid"):
        Forbidden(tokenizer, ["[Br]"])


def test_nothing_ends_before_the_minimum_length(model, tokenizer):
    assert min(map(len, drawn(model, []))) < 9
    sequences = drawn(model, [MinimumLength(tokenizer, 8)])
    assert min(map(len, sequences)) == 9  # and the end


def test_what_allows_nothing_else_allows_the_end(model, tokenizer):
    """Forbidding all symbols, and the end as well, would leave no probability at all."""
    both = [Forbidden(tokenizer, tokenizer.symbols), MinimumLength(tokenizer, 8)]
    sequences = drawn(model, both, 8)
    unknown = tokenizer.unk_id
    assert all(ids[-1] == tokenizer.eos_id and set(ids[:-1]) <= {unknown} for ids in sequences)


def test_conditions_before_a_molecule_do_not_count(model, tokenizer):
    condition = [tokenizer.symbol_id("[C]")] * 5
    held = [Limits(tokenizer, heavy_atoms=3, skip=5), MinimumLength(tokenizer, 4, skip=5)]
    sequences = drawn(model, held, start=condition)
    assert max(m.GetNumHeavyAtoms() for m in molecules(tokenizer, sequences)) == 3
    assert min(map(len, sequences)) >= 4


def test_limits_do_not_care_in_which_order_rows_come(tokenizer):
    """Rows leave a batch and change places; beams are copied."""
    limits, scores = Limits(tokenizer, heavy_atoms=2), torch.zeros(2, tokenizer.vocab_size)
    c, branch = (tokenizer.symbol_id(s) for s in ("[C]", "[Branch1]"))
    limits(torch.tensor([[1, c], [1, branch]]), scores)
    stepped = limits(torch.tensor([[1, branch, c], [1, c, c], [1, c, branch]]), scores[:1].repeat(3, 1))
    afresh = Limits(tokenizer, heavy_atoms=2)(
        torch.tensor([[1, branch, c], [1, c, c], [1, c, branch]]), scores[:1].repeat(3, 1)
    )
    assert torch.equal(stepped, afresh)
    assert stepped[:, c].tolist() == [0, -torch.inf, 0]  # the last one is the length of a branch


@pytest.mark.parametrize(("limit", "told"), [({"heavy_atoms": 0}, "at least 1"), ({"rings": -1}, "negative")])
def test_limits_that_allow_no_molecule_are_refused(tokenizer, limit, told):
    with pytest.raises(ValueError, match=told):
        Limits(tokenizer, **limit)
