"""What Hydra says of an argument that it cannot read, in words that name the argument and how to write it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from chemscale.common.paths import CONFIG_DIRECTORY

UNREADABLE = (
    "mismatched input",
    "no viable alternative",
    "token recognition",
    "extraneous input",
    "Lexer",
    "missing EQUAL",
)
"""How Hydra's complaints about the characters of an argument begin."""
OUTSIDE_QUOTES = "( ) [ ] { } = , # ; & ! @ ' \""


def explain_override(text: str, arguments: Sequence[str]) -> str:
    """One paragraph on an argument that Hydra refuses; empty where its own words do.

    Args:
        text: what Hydra says.
        arguments: the command line.
    """
    ambiguous = re.match(r"Ambiguous value for argument '(.*)'", text)
    if ambiguous:
        return _why_no_sweep(arguments) or (
            f"{ambiguous[1]}: a comma lists the values of a sweep. A sweep has --multirun or a file "
            f"(+sweep=NAME); one value that holds a comma stands in quotes: {quoted(ambiguous[1])}"
        )
    if any(line.startswith(UNREADABLE) for line in text.splitlines()):
        argument = next((a for a in arguments if not _is_readable(a)), "")
        if not argument:
            return ""
        if "=" not in argument:
            return f"{argument}: give KEY=VALUE, a key and its value."
        return (
            f"{argument}: a value that holds one of {OUTSIDE_QUOTES} stands in quotes, which the shell must "
            f"leave alone: {quoted(argument)}"
        )
    if "Config group override must be a string" in text:
        return _of_group(arguments)
    if text.startswith(("Could not override", "Key '")):
        return _taken_out(text, arguments)
    return ""


def _why_no_sweep(arguments: Sequence[str]) -> str:
    """Why a sweep's file cannot be composed with the other arguments; empty where it can, or there is none.

    Hydra takes a command that it cannot compose for one without a sweep, and complains of the commas.
    """
    if not any(argument.startswith("+sweep=") for argument in arguments):
        return ""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    given = [argument for argument in arguments if not argument.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(given)
    single = [argument for argument, one in zip(given, parsed, strict=True) if not one.is_sweep_override()]
    try:
        with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
            compose("train", single)
    except HydraException as error:
        return f"The sweep cannot be composed: {str(error).strip()}"
    return ""


def quoted(argument: str) -> str:
    """An override whose value is one text, as a shell takes it: ``'data.path="a(b).smi"'``."""
    key, _, value = argument.partition("=")
    if "'" not in value and '"' not in value and not value.endswith("\\"):
        return f"'{key}=\"{value}\"'"
    if not set('"$`!\\') & set(value):
        return f'"{key}=\\"{value}\\""'
    escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", value)
    trailing = len(value) - len(value.rstrip("\\"))
    return shlex.quote(f"{key}='{escaped}{trailing * chr(92)}'")


def _is_readable(argument: str) -> bool:
    """Whether Hydra's grammar takes it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if argument.startswith("-"):
        return True
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def _of_group(arguments: Sequence[str]) -> str:
    """``model=null``, and other values that name no option."""
    from chemscale.config.options import groups, option

    for argument in arguments:
        group, _, value = argument.lstrip("+").partition("=")
        if group in groups() and "." not in group:
            from hydra.core.override_parser.overrides_parser import OverridesParser

            if not isinstance(OverridesParser.create().parse_override(argument).value(), str | list):
                return (
                    f"{group}={value}: one of its options is chosen, it cannot be taken out. There are "
                    f"{', '.join(name for name in groups()[group] if option(group, name).can_be_chosen)}."
                )
    return ""


def _taken_out(text: str, arguments: Sequence[str]) -> str:
    """``~model`` beside ``model.width=8``, or ``~lint`` of what is read."""
    for argument in arguments:
        name = argument[1:].partition("=")[0]
        if argument.startswith("~") and re.search(rf"'{re.escape(name)}['.]", text):
            return f"{argument}: {name} can be changed, not taken out."
    return ""
