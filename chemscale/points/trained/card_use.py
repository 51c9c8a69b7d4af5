"""What a model card says of using a model, by the form it has, and of what it cannot do."""

from __future__ import annotations

from string import Template
from typing import Any

HF = Template("""A molecule is `$bos … $eos`. The tokenizer adds both, so a prompt loses its end:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
batch = tokenizer($texts, return_tensors="pt", padding=True)
prompt = {key: batch[key][:, :-1] for key in ("input_ids", "attention_mask")}
tokenizer.batch_decode(model.generate(**prompt, do_sample=True), skip_special_tokens=True)
```

It pads on the left, as `generate` needs. For hidden states and losses pad on the right
(`tokenizer.padding_side = "right"`), since a plain forward pass counts positions from the left end, padding
included; or give it `position_ids=(batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)`.

`python -m chemscale.generate FOLDER` draws molecules too.$extra
""")
NEO = ""
GPT2 = """

The same weights as GPT-2: √K, which GPT-Neo does not divide scores by, stands in the query weights, absent
biases are zeros, and only the positions are here for which GPT-Neo's local window is no restriction."""
ONNX = Template("""The tokenizer puts `$bos` and `$eos` around; `model.onnx` takes int64 `input_ids` and
`attention_mask` of any batch and length, padded on either side, and gives `logits` and `last_hidden_state`.
It keeps no keys and values: each call is a whole forward pass.

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
session = onnxruntime.InferenceSession(f"{FOLDER}/model.onnx")
batch = tokenizer($texts, return_tensors="np", padding=True)
feed = {key: batch[key].astype("int64") for key in ("input_ids", "attention_mask")}
logits = session.run(["logits"], feed)[0]
```
""")
GGUF = Template("""`model.gguf` opens in llama.cpp (architecture `gpt2`). Every symbol is a token of its own,
matched whole, and `$bos` is put before a prompt:

```bash
llama-cli --model model.gguf --prompt "$first" --temp 1 --top-k 0 --top-p 1 --min-p 0 --special
```
""")
POTENTIAL = """```python
from chemscale.structures.calculator import ChemscaleCalculator

atoms.calc = ChemscaleCalculator(FOLDER)
```
"""
AOTI = """`model.pt2` is a package of AOTInductor: it runs from C++ without Python, with the PyTorch and on
the kind of machine that it was compiled for. It holds machine code: to open one is to run it. What it takes
and gives stands in its metadata and in chemscale's guide to C++. From Python:

```python
from chemscale.structures.calculator import ChemscaleCalculator

atoms.calc = ChemscaleCalculator("model.pt2")
```
"""
EXPORTED = """`model.pt2` is an exported program of PyTorch. `torch.export.load` opens it, which may
run code of its own, and `torch._inductor.aoti_compile_and_package` compiles it for a machine.
"""


def usage(form: str, tokenizer: Any, positions: int) -> str:
    """How a model of this form is used.

    Args:
        form: hf | gpt2 | onnx | gguf | aoti | exported.
        tokenizer: of the model; None for a potential.
        positions: that it has.
    """
    if tokenizer is None:
        return {"aoti": AOTI, "exported": EXPORTED}.get(form, POTENTIAL)
    bos, eos = tokenizer.token(tokenizer.bos_id), tokenizer.token(tokenizer.eos_id)
    texts = [text for text in map(_text, (("CC", "CC=C")), (tokenizer, tokenizer)) if text] or ["…"]
    quoted = "[" + ", ".join(f'"{text}"' for text in texts) + "]"
    values = {"bos": bos, "eos": eos, "texts": quoted, "first": texts[0], "positions": positions}
    if form == "onnx":
        return ONNX.substitute(values)
    if form == "gguf":
        return GGUF.substitute(values)
    own = HF.substitute(values, extra=GPT2 if form == "gpt2" else NEO)
    # chemscale itself reads the GPT-Neo form alone.
    line = "`python -m chemscale.generate FOLDER` draws molecules too."
    return own.replace(f"\n{line}", "") if form == "gpt2" else own


def _text(smiles: str, tokenizer: Any) -> str:
    """A molecule in the tokenizer's notation; empty where its vocabulary does not hold it."""
    try:
        return tokenizer.decode(tokenizer.from_smiles(smiles))
    except ValueError:
        return ""


def limits(tokenizer: Any, positions: int, form: str) -> str:
    """What a model cannot do, as far as its files tell.

    Args:
        tokenizer: of the model; None for a potential.
        positions: that it has.
        form: hf | gpt2 | onnx | gguf | aoti | exported.
    """
    if tokenizer is None:
        return "It knows no elements, charges or levels of theory but those of its training data."
    lines = [
        f"- Molecules of more than {positions} tokens, begin and end included, do not fit.",
        "- Symbols outside the vocabulary become the unknown token, and the model has never seen that one.",
        "- A string that decodes to a molecule need not be one that can be made, is stable, or is safe.",
    ]
    if not tokenizer.representation.stereo:
        lines.append("- It knows no stereo: isomers are one string to it.")
    if form == "onnx":
        lines.append("- Without a cache of keys and values generation costs a whole pass a symbol.")
    return "\n".join(lines)
