"""The sweep file of a plan: where Hydra finds it, and what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from chemscale.common.files import atomic_write
from chemscale.planning.candidates import PlanError
from chemscale.planning.proposal import Proposal


def split_settings(settings: Sequence[str], groups: Path) -> tuple[dict[str, str], Any]:
    """Split ``key=value`` overrides into choices of configuration groups and a nested mapping of the others.

    Args:
        settings: as given by ``--set``.
        groups: the folder whose sub-folders are the groups.

    Raises:
        PlanError: a setting without ``=``.
    """
    chosen, values = {}, []
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key or not value:
            raise PlanError(f"--set {setting}: write key=value, as on the command line of train.")
        if key[0] in "+~":
            raise PlanError(f"--set {setting}: only keys that exist; leave the {key[0]} out.")
        if (groups / key).is_dir():
            chosen[key] = value
        else:
            values.append(setting)
    return chosen, OmegaConf.from_dotlist(values)


def sweep_path(out: Path, name: str) -> tuple[Path, str]:
    """Where Hydra finds a sweep below a --config-dir: FOLDER/sweep/NAME.yaml; and the sweep's name.

    ``next.yaml`` becomes ``sweep/next.yaml`` beside it; a folder takes the sweep under `name`.

    Args:
        out: a YAML file, or a folder.
        name: of the sweep, where `out` is a folder.

    Raises:
        PlanError: the file exists.
    """
    if out.suffix in (".yaml", ".yml"):
        folder = out.parent.parent if out.parent.name == "sweep" else out.parent
        name = out.stem
    else:
        folder = out.parent if out.name == "sweep" else out
    path = folder / "sweep" / f"{name}.yaml"
    if path.exists():
        raise PlanError(f"{path} exists, and a plan overwrites nothing: give another --out.")
    return path, name


def write_sweep(
    path: Path,
    name: str,
    proposal: Proposal,
    *,
    groups: dict[str, str],
    values: Any,
    comment: Sequence[str],
) -> None:
    """Write a sweep that ``python -m chemscale.train --config-dir FOLDER +sweep=NAME`` runs.

    Args:
        path: of the file (see ``sweep_path``).
        name: of the sweep.
        proposal: its points and their family.
        groups: choices of configuration groups (see ``split_settings``).
        values: other settings; they win over the family's.
        comment: lines at the top.

    Raises:
        PlanError: the file exists.
    """
    family = proposal.family
    defaults = [{"override /hydra/sweeper": "chemscale"}]
    defaults += [{f"override /{group}": choice} for group, choice in groups.items()]
    planned = OmegaConf.create(
        {
            "sweep_name": name,
            "model": {"layers": family.layers, "heads": family.heads},
            "batch": {"tokens": family.batch_tokens, "accumulate": family.accumulate},
            "budget": {"epochs": None, "tokens": None},
            "precision": family.precision,
        }
    )
    body = {"defaults": defaults, **OmegaConf.to_container(OmegaConf.merge(planned, values))}  # type: ignore[dict-item]
    hydra = {"hydra": {"mode": "MULTIRUN", "sweeper": {"points": proposal.overrides()}}}
    lines = ["# @package _global_", *(f"# {line}" for line in comment)]
    text = "\n".join(lines) + "\n" + OmegaConf.to_yaml(OmegaConf.create({**body, **hydra}))
    try:
        with atomic_write(path, overwrite=False) as file:
            file.write(text)
    except FileExistsError:
        raise PlanError(f"{path} exists, and a plan overwrites nothing: give another --out.") from None
