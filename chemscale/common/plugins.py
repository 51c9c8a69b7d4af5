"""Models and readers that live outside this package: modules that register themselves when they are imported.

An installed package names its module in the entry points of the group ``chemscale.plugins``. A single file is
named, without its suffix, in the environment variable ``CHEMSCALE_PLUGINS`` (several with commas), and is in
the working directory or on Python's path. Nothing is imported before a name is asked for that is not ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from importlib.metadata import entry_points

GROUP = "chemscale.plugins"
VARIABLE = "CHEMSCALE_PLUGINS"


class PluginError(ValueError):
    """A plugin that cannot be imported; the message names it and where its name stands."""


@cache
def load_plugins() -> tuple[str, ...]:
    """Import every plugin, once; their names.

    Raises:
        PluginError: one cannot be imported.
    """
    found = [(entry.value, f"entry point {GROUP}: {entry.name}") for entry in entry_points(group=GROUP)]
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if named and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    found += [(name, f"{VARIABLE}={os.environ.get(VARIABLE)}") for name in named]
    for module, where in found:
        try:
            importlib.import_module(module.partition(":")[0])
        except Exception as error:
            raise PluginError(f"{where}: cannot be imported ({type(error).__name__}: {error}).") from error
    return tuple(module for module, _ in found)
