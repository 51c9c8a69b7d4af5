"""What the card of a model says of its conditions."""

from __future__ import annotations

from string import Template

from chemscale.molecules.tokenizers.conditioned import SCAFFOLD, ConditionedTokenizer
from chemscale.molecules.tokenizers.opening import AnyTokenizer

SECTION = Template("""
## Conditions

Before a molecule stands what it is asked to be, in this order; the token with `?` leaves a condition open.
The model has seen no molecule without them, and was trained on the likelihood of the molecule alone.

| condition | tokens | training molecules |
|---|---|---|
$rows

`$example` begins a prompt, and what follows it is the molecule. The edges of the bins stand in
`conditions.json`.

```python
prompt = tokenizer("$example", return_tensors="pt").input_ids[:, :-1]
out = model.generate(prompt, do_sample=True, top_k=0)
tokenizer.batch_decode(out[:, prompt.shape[1] :], skip_special_tokens=True)
```
""")


def conditions_card(tokenizer: AnyTokenizer) -> str:
    """A section of Markdown on the conditions of a model; empty where it has none.

    Args:
        tokenizer: of the model.
    """
    if not isinstance(tokenizer, ConditionedTokenizer):
        return ""
    rows, example = [], ""
    for each in tokenizer.conditions.values:
        unknown, first, *_, last = each.tokens
        rows.append(
            f"| {each.name} | `{unknown}`, `{first}` … `{last}` | {each.low:.4g} … {each.high:.4g}, in "
            f"{each.bins} bins by quantiles |"
        )
        example += each.tokens[1 + each.bins // 2]
    if tokenizer.conditions.scaffold:
        around = f"`<{SCAFFOLD}>` symbols `</{SCAFFOLD}>`"
        rows.append(f"| {SCAFFOLD} | `<{SCAFFOLD}:?>`, or {around} | Bemis-Murcko scaffold without stereo |")
        example += f"<{SCAFFOLD}:?>"
    return SECTION.substitute(rows="\n".join(rows), example=example)
