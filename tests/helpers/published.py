"""A file of the make of the tokenizers published with ChemGPT, with a vocabulary of our own."""

import json
from pathlib import Path

SPECIALS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
SYMBOLS = {
    "1": "[C] [=C] [#C] [O] [=O] [N] [#N] [S] [Br] [Ring1] [Ring2] [Expl=Ring1] "
    "[Branch1_1] [Branch1_2] [Branch1_3] [Branch2_1] [O-expl] [NH+expl] [NHexpl] [IH2expl]",
    "2": "[C] [=C] [#C] [O] [=O] [N] [#N] [S] [Br] [Ring1] [Ring2] [=Ring1] "
    "[Branch1] [=Branch1] [#Branch1] [Branch2] [O-1] [NH1+1] [NH1] [IH2]",
}


def published_like(version, symbols=None):
    """The make of the published files with a vocabulary of our own: word pieces, then symbols."""
    pieces = ["C", "O", "[", "]", "##C", "##O", "##]", "##C]", "[C", "1", "##1", "##3"]
    tokens = [*SPECIALS, *pieces, *(symbols or SYMBOLS[version].split())]

    def special(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}

    single = [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")]
    flags = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in enumerate(SPECIALS)],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": r"\[(.*?)\]"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, special("[SEP]")],
            "special_tokens": {
                name: {"id": name, "ids": [SPECIALS.index(name)], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: i for i, token in enumerate(tokens)},
        },
    }


def published_file(version, folder) -> Path:
    """Such a file of one SELFIES line, "1" or "2"."""
    file = Path(folder) / "small.json"
    file.write_text(json.dumps(published_like(version)))
    return file
