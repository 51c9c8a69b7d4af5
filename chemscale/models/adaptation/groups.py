"""Named groups of a ChemGPT's parameters: what ``model.freeze`` and ``model.lora.also`` are written in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

import torch

from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig

MATRICES = ("qkv", "attention_out", "mlp_in", "mlp_out")
"""Linear layers of a block."""
GROUPS = {
    "embeddings": r"(token|position)_embedding\.",
    "tokens": r"token_embedding\.",
    "head": r"token_embedding\.",
    "positions": r"position_embedding\.",
    "blocks": r"blocks\.",
    "attention": r"blocks\.\d+\.(qkv|attention_out)\.",
    "mlp": r"blocks\.\d+\.(mlp_in|mlp_out)\.",
    "norms": r"(blocks\.\d+\.norm_\w+|norm)\.",
}
"""Group → the names of its parameters. The head is the table of tokens: ChemGPT ties them."""
BUT = re.compile(r"all[ -]but[ -]+(.+)")
BLOCKS = re.compile(r"blocks:(\d+)(?:-(\d+))?")


class AdaptationError(ValueError):
    """A group that a model does not have, or an adaptation that cannot be; the message names the way out."""


@cache
def shapes(config: ChemGPTConfig) -> dict[str, torch.Size]:
    """Shapes of a model's parameters by name; nothing is allocated.

    Args:
        config: of the model.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return {name: parameter.shape for name, parameter in ChemGPT(config).named_parameters()}


def members(config: ChemGPTConfig, groups: Sequence[str], key: str) -> frozenset[str]:
    """Names of the parameters in any of some groups.

    Args:
        config: of the model.
        groups: names of ``GROUPS``, ``blocks:3``, ``blocks:0-5``, or ``all but GROUP and GROUP``.
        key: of the configuration that lists them, for messages.

    Raises:
        AdaptationError: a group that the model does not have.
    """
    found: set[str] = set()
    for group in groups:
        if but := BUT.fullmatch(group.strip()):
            kept = members(config, re.split(r"\s*,\s*|\s+and\s+", but[1].strip()), key)
            found |= set(shapes(config)) - kept
        else:
            found |= _of_group(config, group.strip(), key)
    return frozenset(found)


def _of_group(config: ChemGPTConfig, group: str, key: str) -> set[str]:
    if span := BLOCKS.fullmatch(group):
        first, last = int(span[1]), int(span[2] or span[1])
        if not first <= last < config.layers:
            raise AdaptationError(
                f"{key}={group}: the blocks of the model are numbered 0 to {config.layers - 1}."
            )
        pattern = rf"blocks\.({'|'.join(map(str, range(first, last + 1)))})\."
    elif group in GROUPS:
        pattern = GROUPS[group]
    else:
        raise AdaptationError(
            f"{key}={group}: no group of parameters. There are {', '.join(GROUPS)}, blocks:N, blocks:N-M "
            "and 'all but GROUP'."
        )
    return {name for name in shapes(config) if re.match(pattern, name)}


def count(config: ChemGPTConfig, names: Iterable[str]) -> int:
    """Numbers in some parameters.

    Args:
        config: of the model.
        names: of the parameters.
    """
    known = shapes(config)
    return sum(known[name].numel() for name in names)
