"""What molfeat asks of a Hugging Face ChemGPT, our folders give.

Its featurizer opens a folder with ``AutoConfig``, the class of ``architectures`` and ``AutoTokenizer``; pads
a list of SELFIES with ``padding=True``; runs the model on ``input_ids`` and ``attention_mask`` as they come;
and pools ``hidden_states[-1]``: the mean over the attention mask, or, for a ``model_type`` that begins with
gpt, the last token that is not ``pad_token_id``, which it counts from the left. It gives no positions, so it
needs a tokenizer that pads on the right; it takes the one that it is given.
"""

import pytest
import selfies
import torch

from tests.molecules.representation.conftest import MOLECULES

transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
TEXTS = [selfies.encoder(text) for text in MOLECULES[:12]]


@pytest.fixture(scope="module")
def opened(model):
    config = transformers.AutoConfig.from_pretrained(model)
    kind = getattr(transformers, config.architectures[0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, padding_side="right")
    return kind.from_pretrained(model).eval(), tokenizer


def states(opened, texts):
    theirs, tokenizer = opened
    batch = tokenizer(texts, truncation=True, padding=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        return batch, theirs(output_hidden_states=True, **batch)["hidden_states"][-1]


def last_token(opened, batch, hidden):
    pad = opened[0].config.to_dict()["pad_token_id"]
    return hidden[torch.arange(len(hidden)), batch["input_ids"].ne(pad).sum(-1) - 1]


def test_the_folder_says_what_a_featurizer_looks_for(opened):
    theirs, tokenizer = opened
    config = theirs.config.to_dict()
    assert config["model_type"].startswith("gpt")
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        assert config[name] == getattr(tokenizer, name) < tokenizer.vocab_size
    assert config["pad_token_id"] != config["eos_token_id"]


def test_a_molecule_has_the_same_vector_in_a_batch_and_alone_with_padding_on_the_right(opened):
    batch, hidden = states(opened, TEXTS)
    mask = batch["attention_mask"].unsqueeze(-1)
    mean, last = (hidden * mask).sum(1) / mask.sum(1), last_token(opened, batch, hidden)
    for i, text in enumerate(TEXTS):
        alone, state = states(opened, [text])
        torch.testing.assert_close(mean[i], state[0].mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(last[i], last_token(opened, alone, state)[0], atol=1e-5, rtol=1e-5)


def test_with_padding_on_the_left_positions_make_it_so(opened):
    theirs, tokenizer = opened
    batch = tokenizer(TEXTS, padding=True, padding_side="left", return_tensors="pt")
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        hidden = theirs(output_hidden_states=True, position_ids=positions, **batch)["hidden_states"][-1]
    for i, text in enumerate(TEXTS):
        _, state = states(opened, [text])
        torch.testing.assert_close(hidden[i, -state.shape[1] :], state[0], atol=1e-5, rtol=1e-5)
