"""The reference of the commands, made from the command lines themselves."""

from __future__ import annotations

import importlib
import re

import typer
import yaml
from typer.cli import get_docs_for_click

from chemscale.__main__ import VERBS
from chemscale.common.paths import CONFIG_DIRECTORY

HEAD = """\
# Commands

`chemscale COMMAND …` and `python -m chemscale.COMMAND …` are the same; `--help` prints what stands here.
Errors are one paragraph and status 2; `CHEMSCALE_DEBUG=1` shows the traceback. `chemscale --version` prints
what a bug report needs.

| command | what it makes |
|---|---|
"""
EXAMPLE = re.compile(r"^ {2,}((?:python -m |chemscale |export |SLURM_).*)$", re.MULTILINE)


def page() -> str:
    """The whole page."""
    listed = "".join(f"| [`{verb}`](#chemscale-{verb}) | {what} |\n" for verb, what in VERBS.items())
    return HEAD + listed + "\n" + "\n".join(_verb(verb) for verb in VERBS)


def _verb(verb: str) -> str:
    module = importlib.import_module(f"chemscale.{verb}")
    title = f"(chemscale-{verb})=\n"
    if not hasattr(module, "app"):
        return title + _hydra(verb)
    command = typer.main.get_command(module.app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=f"chemscale {verb}", indent=1)
    return title + EXAMPLE.sub(r"```console\n$ \1\n```", text).replace("```\n\n```console\n", "") + "\n"


def _hydra(verb: str) -> str:
    help_ = yaml.safe_load((CONFIG_DIRECTORY / f"{verb}.yaml").read_text())["hydra"]["help"]["template"]
    text, _, _ = help_.partition("Groups (group=option):")
    text, _, _ = text.partition("All keys (key=value):")
    return (
        f"## `chemscale {verb}`\n\n```text\n{text.rstrip()}\n```\n\n"
        "All groups and keys, with type, default and meaning: {doc}`configuration`. `--cfg job` prints the "
        "composed configuration and starts nothing.\n"
    )
