"""``transformers.generate`` on the exported folder draws from the same distribution, constraints included."""

import pytest
import torch
from scipy.stats import chi2_contingency

from chemscale.molecules.conditions import banned_ids
from chemscale.molecules.generation.constraints import Forbidden, Limits, MinimumLength
from chemscale.molecules.generation.sampling import Sampling, allowed, batch_generator, sample_batch
from chemscale.molecules.loading import load_trained

SETTINGS = {"temperature": 0.8, "top_k": 9, "top_p": 0.9}


@pytest.fixture(scope="module")
def both(folder):
    transformers = pytest.importorskip("transformers", reason="transformers is an optional dependency")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    return load_trained(folder, "cpu")[0], theirs


def constraints(tokenizer):
    return [
        Forbidden(tokenizer, ["[F]"]),
        Limits(tokenizer, heavy_atoms=6, rings=1),
        MinimumLength(tokenizer, 3),
    ]


@pytest.mark.parametrize("settings", [{}, SETTINGS], ids=["plain", "truncated"])
@pytest.mark.parametrize("constrained", [False, True])
def test_next_symbols_have_the_same_probabilities_along_drawn_prefixes(
    both, tokenizer, settings, constrained
):
    ours, theirs = both
    torch.manual_seed(1)
    start = torch.full((6, 1), tokenizer.bos_id)
    drawn = theirs.generate(
        start,
        attention_mask=torch.ones_like(start),
        logits_processor=constraints(tokenizer) if constrained else [],
        max_new_tokens=20,
        output_scores=True,
        return_dict_in_generate=True,
        **settings,
    )
    how, mine = Sampling(**settings), constraints(tokenizer) if constrained else []
    checked = 0
    for at, scores in enumerate(drawn.scores, 1):
        written = drawn.sequences[:, :at]
        going = ~(written == tokenizer.eos_id).any(1)
        with torch.no_grad():
            logits = ours.dense(written[going])[:, -1]
        logits[:, [tokenizer.pad_id, tokenizer.bos_id, tokenizer.unk_id]] = -torch.inf
        for process in mine:
            logits = process(written[going], logits)
        expected = allowed(logits / how.temperature, how).softmax(-1)
        torch.testing.assert_close(scores[going].softmax(-1), expected, rtol=1e-4, atol=1e-6)
        checked += int(going.sum())
    assert checked > 30


def test_first_symbols_are_drawn_as_often(both, tokenizer):
    ours, theirs = both
    torch.manual_seed(2)
    start = torch.full((3000, 1), tokenizer.bos_id)
    one = theirs.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=1)[:, 1]
    generator, banned = batch_generator(0, 0, torch.device("cpu")), banned_ids(tokenizer)
    drawn = sample_batch(ours, 3000, Sampling(max_length=1), generator, banned=banned)
    counts = torch.stack(
        [
            torch.bincount(ids, minlength=tokenizer.vocab_size)
            for ids in (one, torch.tensor([ids[0] for ids in drawn]))
        ]
    )
    seen = counts[:, counts.sum(0) >= 10]
    assert seen.shape[1] > 5
    assert chi2_contingency(seen.numpy()).pvalue > 0.001
    wrong = torch.stack([seen[0].flip(0), seen[1]])
    assert chi2_contingency(wrong.numpy()).pvalue < 0.001  # the test can fail
