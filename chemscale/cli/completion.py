"""Tab completion of the ``chemscale`` command: verbs, options, configuration groups and keys.

``eval "$(chemscale completion bash)"`` switches it on for a shell. The shell hands over its line; what may
follow is read from the commands' own parsers and from ``conf/``, so that no list can fall behind.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterable, Mapping

SHELLS = ("bash", "zsh")
HYDRA = {"train": "train", "prepare": "prepare"}
"""Verbs of ``key=value``, and the configuration of each."""
SUBMIT = ("launch", "submit")
"""A subcommand that takes what ``train`` does."""
SCRIPT = """_chemscale() {
  local IFS=$'\\n'
  COMPREPLY=($(chemscale completion --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
  [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o bashdefault -o default -F _chemscale chemscale"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str) -> str:
    """What a shell evaluates to complete ``chemscale``.

    Args:
        shell: bash or zsh.

    Raises:
        ValueError: another shell.
    """
    if shell not in SHELLS:
        raise ValueError(
            f'completion {shell}: choose {" or ".join(SHELLS)}, as eval "$(chemscale completion bash)".'
        )
    return (ZSH if shell == "zsh" else "") + SCRIPT


def candidates(line: str, verbs: Iterable[str]) -> list[str]:
    """What the last word of a line may become; nothing where a file is to be named.

    Shells cut a word at ``=``: behind one, what follows it is given.

    Args:
        line: up to the cursor, ``chemscale`` included.
        verbs: that there are.
    """
    try:
        words = shlex.split(line)[1:]
    except ValueError:  # within a quotation
        return []
    if not words or line[-1:].isspace():
        words.append("")
    *before, last = words
    if not before:
        return _beginning(last, verbs)
    if before[0] in HYDRA or tuple(before[:2]) == SUBMIT:
        found = _overrides(last, HYDRA.get(before[0], "train"))
    elif before[0] == "fetch" and before[0] in verbs:
        from chemscale.fetching.registry import load_registry

        found = _beginning(last, [*_options(before), *load_registry()])
    elif before[0] in verbs:
        found = _beginning(last, _options(before))
    else:
        found = []
    return [each[last.rfind("=") + 1 :] for each in found]


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(start)})


def _options(words: list[str]) -> list[str]:
    """Options and subcommands of a verb's parser."""
    import typer.main  # click, and rich: not for a completion of keys

    command = typer.main.get_command(importlib.import_module(f"chemscale.{words[0]}").app)
    for word in words[1:]:
        commands: Mapping[str, typer.core.TyperCommand] = getattr(command, "commands", {})
        command = commands.get(word, command)
    flags = [name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")]
    return [*getattr(command, "commands", {}), *flags, "--help"]


def _overrides(last: str, configuration: str) -> list[str]:
    """Groups, their options, and keys, as Hydra takes them."""
    from chemscale.config.options import groups, option

    sign = last[0] if last[:1] in "+~" else ""
    word = last.removeprefix(sign)
    group, equals, value = word.partition("=")
    if equals:
        names = [n for n in groups().get(group, ()) if n.startswith(value) and option(group, n).can_be_chosen]
        return [f"{sign}{group}={name}" for name in names]
    keys = set(option("", configuration).keys)
    for name in groups():
        keys.add(name)
        if "." in word and word.startswith(f"{name}."):
            keys |= {key for each in groups()[name] for key in option(name, each).keys}
    return [f"{sign}{key}=" for key in _beginning(word, keys - {"hydra"}) if not key.startswith("hydra.")]
