"""The launcher and the search path of site profiles, where Hydra finds them."""

from dataclasses import dataclass

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

from chemscale.common.paths import site_folders
from chemscale.launchers import hooks
from chemscale.launchers.hydra_launcher import PointLauncher


class ChemscaleLauncher(PointLauncher):
    """``override /hydra/launcher: chemscale``"""


@dataclass
class ChemscaleLauncherConf:
    _target_: str = "hydra_plugins.chemscale_launcher.ChemscaleLauncher"
    plan: str = hooks.PLAN_POINTS


ConfigStore.instance().store(
    group="hydra/launcher", name="chemscale", node=ChemscaleLauncherConf, provider="chemscale"
)


class ChemscaleSites(SearchPathPlugin):
    """``site=NAME`` is looked for in a user's own folder, then among ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in site_folders():
            search_path.append(provider="chemscale-sites", path=str(folder))
