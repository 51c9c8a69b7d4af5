"""The Hugging Face files of a tokenizer, written once they are shown to give the same ids."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from chemscale.common.files import atomic_write
from chemscale.molecules.tokenizers.notation import Representation, TokenizerError

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SYMBOL_PATTERN = r"\[[^\]]*\]|\."
"""One symbol of SELFIES."""
MAX_LENGTH = 2048
"""Positions of the published ChemGPT models, and of ours unless the configuration has another number."""


@lru_cache(maxsize=4)
def hf_tokenizer(tokens: tuple[str, ...], pattern: str = SYMBOL_PATTERN) -> Tokenizer:
    """A vocabulary as a Hugging Face ``tokenizers`` pipeline: ``<bos> … <eos>`` around the symbols.

    Args:
        tokens: specials and symbols in the order of their ids.
        pattern: regular expression of one symbol; that of SELFIES unless another is given.
    """
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=SPECIALS[3]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    _, bos, eos, _ = SPECIALS
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {bos} $B {eos}",
        special_tokens=[(bos, tokens.index(bos)), (eos, tokens.index(eos))],
    )
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return backend


def write_folder(
    folder: Path,
    backend: Tokenizer,
    special_names: dict[str, str],
    representation: Representation,
    expected: dict[str, list[int]],
    settings: dict[str, Any],
) -> None:
    """Write the Hugging Face files of a tokenizer once their text, read back, gives the expected ids.

    Args:
        folder: of the files; it is made.
        backend: the pipeline.
        special_names: ``pad_token`` and so on, and the tokens.
        representation: what the symbols stand for.
        expected: text → ids with begin and end; each must also decode to itself.
        settings: more keys of ``tokenizer_config.json``.

    Raises:
        TokenizerError: the files would not do so (nothing is written then).
    """
    written = backend.to_str(pretty=True)
    again = Tokenizer.from_str(written)
    for text, ids in expected.items():
        if again.encode(text).ids != ids or again.decode(ids, skip_special_tokens=True) != text:
            raise TokenizerError(
                f"The Hugging Face tokenizer would read {text[:60]} differently: not saved. Symbols that "
                f"tokenizers cannot hold, or a tokenizers release that changed; tokenizers >= 0.21 is needed."
            )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special_names,
        # GPT-Neo adds the embedding of token_type_ids, where it is given any, to that of the tokens.
        "model_input_names": ["input_ids", "attention_mask"],
        **settings,
        "clean_up_tokenization_spaces": False,
        "chemscale": representation.to_dict(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))
    write_text(folder / "special_tokens_map.json", json.dumps(special_names, indent=1))
    write_text(folder / "tokenizer.json", written)


def write_text(path: Path, text: str) -> None:
    """Write a file that is complete or absent.

    Args:
        path: of the file.
        text: its content.
    """
    with atomic_write(path) as file:
        file.write(text)
