"""Asking for conditions: ids, the text that gives the same ids, and what cannot be asked."""

import pytest
from transformers import AutoTokenizer

from chemscale.molecules.conditions import (
    ConditionError,
    banned_ids,
    describe_request,
    parse_conditions,
    prefix_ids,
)
from chemscale.molecules.conditions.achieved import achieved
from chemscale.molecules.tokenizers.conditioned import CONDITIONS_FILE, ConditionedTokenizer, Conditions
from chemscale.molecules.tokenizers.opening import load_tokenizer
from chemscale.molecules.tokenizers.tokenizer import TokenizerError


def tokens(tokenizer, **asked):
    return [tokenizer.token(i) for i in prefix_ids(tokenizer, asked)]


def test_values_become_their_bins_and_what_is_not_named_stays_open(conditioned):
    tokenizer = conditioned.tokenizer
    assert tokenizer.conditions.names == ("rings", "logP", "scaffold")
    assert tokens(tokenizer) == ["<rings:?>", "<logP:?>", "<scaffold:?>"]
    rings = tokenizer.conditions.values[0]
    assert tokens(tokenizer, rings=rings.edges[0])[0] == "<rings:01>"
    assert tokens(tokenizer, rings=-5)[0] == "<rings:00>"
    assert tokens(tokenizer, rings="99", logP="?")[:2] == [f"<rings:{rings.bins - 1:02d}>", "<logP:?>"]


def test_a_scaffold_is_its_canonical_one_however_it_is_written(conditioned):
    tokenizer = conditioned.tokenizer
    spelled = {
        tuple(prefix_ids(tokenizer, {"scaffold": s})) for s in ("c1ccccc1", "C1=CC=CC=C1", "Cc1ccccc1O")
    }
    assert len(spelled) == 1
    found = tokens(tokenizer, scaffold="c1ccccc1")[2:]
    assert (found[0], found[-1]) == ("<scaffold>", "</scaffold>")
    assert "".join(found[1:-1]) == "[C][=C][C][=C][C][=C][Ring1][=Branch1]"
    assert tokens(tokenizer, scaffold="")[2:] == ["<scaffold>", "</scaffold>"]


def test_the_files_open_in_transformers_with_the_same_ids(conditioned, tmp_path):
    tokenizer = conditioned.tokenizer
    tokenizer.save(tmp_path, max_length=100, padding_side="left")
    assert load_tokenizer(tmp_path) == tokenizer == load_tokenizer(tmp_path / "tokenizer.json")
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == tokenizer.vocab_size
    molecule = tokenizer.decode(conditioned.train.tokens(0))
    ids = prefix_ids(tokenizer, {"rings": 2, "scaffold": "c1ccncc1"})
    text = "".join(map(tokenizer.token, ids)) + molecule
    assert theirs(text).input_ids == [
        tokenizer.bos_id,
        *ids,
        *tokenizer.base.encode(molecule),
        tokenizer.eos_id,
    ]
    assert theirs(text).input_ids[1:-1] == tokenizer.encode(text)
    (tmp_path / CONDITIONS_FILE).write_text("[1]")
    with pytest.raises(TokenizerError, match="damaged"):
        load_tokenizer(tmp_path)


def test_a_molecule_is_read_without_what_stands_before_it(conditioned):
    tokenizer = conditioned.tokenizer
    molecule = conditioned.train.tokens(0).tolist()
    for asked in ({}, {"scaffold": "c1ccncc1", "logP": 1}):
        ids = [tokenizer.bos_id, *prefix_ids(tokenizer, asked), *molecule, tokenizer.eos_id, 7]
        assert tokenizer.decode(ids) == tokenizer.base.decode(molecule)
        assert tokenizer.to_smiles(ids) == tokenizer.base.to_smiles(molecule)
    with pytest.raises(TokenizerError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])
    own = range(tokenizer.base.vocab_size, tokenizer.vocab_size)
    assert banned_ids(tokenizer) == [tokenizer.unk_id, *own]
    assert tokenizer.hash != tokenizer.base.hash


def test_other_edges_are_another_tokenizer(conditioned):
    base, conditions = conditioned.tokenizer.base, conditioned.tokenizer.conditions
    raw = conditions.to_dict()
    raw["values"][0]["edges"] = raw["values"][0]["edges"][:-1]
    other = Conditions(tuple(type(conditions.values[0])(**each) for each in raw["values"]), True)
    assert ConditionedTokenizer(base, other).hash != conditioned.tokenizer.hash


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"QED": 0.5}, "trained with conditions on rings, logP, scaffold, not on QED"),
        ({"logp": 1}, "Did you mean logP"),
        ({"rings": "many"}, "rings=many: give a number"),
        ({"rings": "nan"}, "rings=nan: give a number"),
        ({"scaffold": "c1ccc"}, "RDKit does not read"),
        ({"scaffold": "CCO"}, "it has no ring"),
        ({"scaffold": "C1CC[SiH2]C1"}, r"scaffold=C1CC\[SiH2\]C1: \[SiH2\] does not occur in molecules"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_a_sentence(conditioned, asked, message):
    with pytest.raises(ConditionError, match=message):
        prefix_ids(conditioned.tokenizer, asked)


def test_a_model_without_conditions_has_no_prefix_and_refuses_every_condition(corpus):
    assert prefix_ids(corpus.tokenizer, {}) == []
    assert banned_ids(corpus.tokenizer) == [corpus.tokenizer.unk_id]
    assert describe_request(corpus.tokenizer, {}) == achieved(corpus.tokenizer, {}, ["CCO"]) == []
    with pytest.raises(ConditionError, match=r"trained without conditions.*data\.condition=\[logP\]"):
        prefix_ids(corpus.tokenizer, {"logP": 2})


def test_conditions_of_a_command_line_are_taken_apart():
    assert parse_conditions(["logP = 2.5", "scaffold=C1=CC=CC=C1"]) == {
        "logP": "2.5",
        "scaffold": "C1=CC=CC=C1",
    }
    for texts, message in (
        (["logP"], "NAME=VALUE"),
        (["=2"], "NAME=VALUE"),
        (["a=1", "a=2"], "names a twice"),
    ):
        with pytest.raises(ConditionError, match=message):
            parse_conditions(texts)


def test_what_is_asked_and_what_came_of_it_is_told(conditioned):
    tokenizer = conditioned.tokenizer
    asked = {"rings": 99, "scaffold": "Cc1ccccc1"}
    lines = describe_request(tokenizer, asked)
    assert "no training molecule has 99, this is the nearest" in lines[0]
    assert lines[1] == "scaffold=c1ccccc1"
    rings, scaffold = achieved(
        tokenizer, {"rings": 0, "scaffold": "c1ccccc1"}, ["CCO", "Cc1ccccc1", "c1ccncc1"]
    )
    assert (rings.mean, rings.molecules) == (pytest.approx(2 / 3), 3)
    first = tokenizer.conditions.values[0].edges[0]
    assert rings.hits == sum(n < first for n in (0, 1, 1))
    assert (scaffold.hits, scaffold.mean) == (1, None)
    assert "1 of 3 with this scaffold (33.3 %)" in str(scaffold)
