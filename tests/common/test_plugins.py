"""Architectures and readers from outside the package are found by name, and their faults are named."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from chemscale.common.plugins import PluginError, load_plugins
from chemscale.models.potentials import CONFIGS, PotentialError, is_potential, read_config, register
from chemscale.structures.sources import READERS, SourceError, open_source
from chemscale.structures.sources import register as register_reader

PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from chemscale.models.potentials import register
from chemscale.structures.sources import register as register_reader

@register
@dataclass(frozen=True)
class Config:
    family: ClassVar[str] = "outsider"
    width: int = 3
    layers: int = 1
    cutoff: float = 4.0

register_reader("outside", lambda path, units=None: ("read", path))
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module in the working directory, forgotten afterwards."""

    def name(module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("CHEMSCALE_PLUGINS", module)

    load_plugins.cache_clear()
    yield name
    load_plugins.cache_clear()
    CONFIGS.pop("outsider", None)
    READERS.pop("outside", None)


def test_a_module_named_by_the_environment_brings_architectures_and_readers(plugin, tmp_path):
    plugin("outsider_module", PLUGIN)
    assert is_potential("outsider")
    assert read_config({"family": "outsider", "width": 5}).width == 5
    (tmp_path / "data.abc").write_text("frames")
    assert open_source(tmp_path / "data.abc", "outside")[0] == "read"


def test_a_plugin_that_does_not_import_is_named_with_its_fault(plugin):
    plugin("broken_module", "import a_package_that_is_not_there")
    with pytest.raises(PluginError, match=r"CHEMSCALE_PLUGINS=broken_module.*a_package_that_is_not_there"):
        is_potential("outsider")


def test_an_unknown_family_says_how_one_of_ones_own_is_found(plugin):
    with pytest.raises(PotentialError, match="CHEMSCALE_PLUGINS"):
        read_config({"family": "outsider"})


def test_names_that_are_taken_are_refused():
    @dataclass(frozen=True)
    class Impostor:
        family: ClassVar[str] = "schnet"

    with pytest.raises(PotentialError, match="schnet"):
        register(Impostor)

    with pytest.raises(SourceError, match="md17"):
        register_reader("md17", lambda path: None)
