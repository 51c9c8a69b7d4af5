"""Potentials by the name of their architecture: configuration, construction, parameter counts, files."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from chemscale.common.plugins import load_plugins
from chemscale.common.sections import read_section
from chemscale.models.allegro import AllegroConfig
from chemscale.models.mace import MACEConfig
from chemscale.models.nequip import NequIPConfig
from chemscale.models.painn import PaiNNConfig
from chemscale.models.potential import Potential
from chemscale.models.pyg import PyGConfig
from chemscale.models.schnet import SchNetConfig
from chemscale.models.spookynet import SpookyNetConfig

CONFIGS: dict[str, type] = {
    config.family: config
    for config in (
        *(SchNetConfig, PaiNNConfig, AllegroConfig, SpookyNetConfig, NequIPConfig, MACEConfig, PyGConfig),
    )
}
FORMAT = "chemscale-potential-1"
PACKAGE_FORMAT = "chemscale-package-1"
"""Of a file with the graph of a potential for programs without Python."""
INPUTS = ("numbers", "positions", "cell", "senders", "receivers", "shifts", "charge", "spin")
"""What the graph of such a file takes of one structure, in this order."""
OUTPUTS = ("energy", "energies", "forces", "virial", "stress")
"""What it gives, in this order."""


class PotentialConfig(Protocol):
    """What every architecture's configuration has, a frozen dataclass.

    Two more are read where they are there: ``knows_charge``, whether the network looks at the total charge
    and the multiplicity (if not, data that contradict each other without them are refused), and
    ``molecules_only``, whether it has interactions that a periodic cell makes wrong.
    """

    @property
    def family(self) -> str:
        """Name of the architecture, ``model.family``."""
        ...

    @property
    def width(self) -> int:
        """Features of an atom; capacity is layers × width."""
        ...

    @property
    def layers(self) -> int:
        """Layers of the network."""
        ...

    @property
    def cutoff(self) -> float:
        """Å within which atoms are neighbours."""
        ...

    def network(self, elements: tuple[int, ...], neighbours: float) -> nn.Module:
        """A network with fresh weights.

        Args:
            elements: atomic numbers that it has to know, ascending.
            neighbours: mean number of neighbours of an atom.

        Returns:
            A module from an ``AtomGraph`` to (N,) energies; ``layers`` holds its layers.
        """
        ...


class PotentialError(ValueError):
    """A potential that cannot be built or read; the message names the key or the file."""


def register(config: type) -> type:
    """Make an architecture of one's own known by the ``family`` of its configuration; a class decorator.

    Args:
        config: class of the configuration, as ``PotentialConfig``.

    Raises:
        PotentialError: another class has this name.
    """
    known = CONFIGS.setdefault(config.family, config)  # type: ignore[attr-defined]
    if known is not config and (known.__module__, known.__name__) != (config.__module__, config.__name__):
        raise PotentialError(f"family {known.family!r} is {known.__module__}'s already.")  # type: ignore[attr-defined]
    return config


def is_potential(family: str | None) -> bool:
    """Whether there is an architecture of this name, plugins included (``chemscale.common.plugins``)."""
    if family not in CONFIGS:
        load_plugins()
    return family in CONFIGS


def read_config(values: dict[str, Any]) -> PotentialConfig:
    """Read a configuration from its mapping.

    Args:
        values: ``family`` and the keys of that architecture's configuration.

    Raises:
        PotentialError: an unknown family or key, or a number out of range.
        ConfigurationError: a value of the wrong type.
    """
    values = dict(values)
    family = values.pop("family", None)
    if not is_potential(family):
        raise PotentialError(
            f"model.family={family!r}: choose one of {', '.join(CONFIGS)}. (An architecture of your own is "
            "found where CHEMSCALE_PLUGINS names its module.)"
        )
    known = [field.name for field in fields(CONFIGS[family])]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise PotentialError(f"model.{unknown[0]}: {family} has no such key; it has {', '.join(known)}.")
    config: PotentialConfig = read_section(CONFIGS[family], values, "model")
    for key in ("width", "layers", "cutoff", "radial"):
        if key in values and not values[key] > 0:
            raise PotentialError(f"model.{key}={values[key]}: must be above 0.")
    return config


def build(
    config: PotentialConfig,
    elements: tuple[int, ...],
    *,
    references: tuple[float, ...] | None = None,
    scale: float = 1.0,
    neighbours: float = 12.0,
    dtype: torch.dtype | None = None,
) -> Potential:
    """Make a potential with fresh weights.

    Args:
        config: shape of the network.
        elements: atomic numbers, in any order.
        references: eV of an atom of each element, in the order of `elements`; 0 if not given.
        scale: eV per unit of the network's output.
        neighbours: mean number of neighbours of an atom, which some architectures divide by.
        dtype: precision of weights and constants; PyTorch's default if None.
    """
    references = references or (0.0,) * len(elements)
    ordered = sorted(zip(elements, references, strict=True))
    known = tuple(z for z, _ in ordered)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype or default)
    try:
        network = config.network(known, neighbours)
    finally:
        torch.set_default_dtype(default)
    potential = Potential(network, known, tuple(e for _, e in ordered), scale)
    potential.header = {
        "format": FORMAT,
        "model": {"family": config.family, **asdict(config)},  # type: ignore[call-overload]
        "elements": list(known),
        "neighbours": neighbours,
    }
    return potential


def parameter_counts(potential: nn.Module) -> dict[str, int]:
    """Count trainable numbers under the conventions of ``records.Parameters``, and layers × width.

    Args:
        potential: whose ``network`` is counted.
    """
    network: Any = potential.network
    trainable = {id(p): p for p in network.parameters() if p.requires_grad}
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    in_layers = {id(p) for p in network.layers.parameters()}
    config = network.config
    return {
        "all": sum(p.numel() for p in trainable.values()),
        "non_embedding": sum(p.numel() for key, p in trainable.items() if key not in tables),
        "blocks": sum(p.numel() for key, p in trainable.items() if key in in_layers),
        "matrices": sum(p.numel() for key, p in trainable.items() if key not in tables and p.dim() > 1),
        "capacity": config.layers * config.width,
    }


def save_potential(potential: Potential, directory: Path, extra: dict[str, Any] | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``.

    Args:
        potential: what is saved.
        directory: folder of the two files; it is made.
        extra: more keys for ``config.json``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(_apart(potential.state_dict()), directory / "model.safetensors")
    header = {**potential.header, **(extra or {})}
    (directory / "config.json").write_text(json.dumps(header, indent=1, default=str))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, those that share memory as copies: safetensors writes no two names of one.

    A module may hold its weights under two names, as the filters of PyG's SchNet; both are read again.
    """
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return apart


def load_potential(directory: Path, *, dtype: torch.dtype | None = None) -> Potential:
    """Open a potential that was saved, in evaluation mode; no code is unpickled.

    Args:
        directory: folder with ``config.json`` and ``model.safetensors``.
        dtype: precision of the network; as saved if None.

    Raises:
        PotentialError: the folder holds no potential, or one of another format.
    """
    directory = Path(directory)
    try:
        header = json.loads((directory / "config.json").read_text())
        tensors = load_file(directory / "model.safetensors")
    except FileNotFoundError as error:
        raise PotentialError(
            f"{error.filename or directory}: no potential there. Give a run's model folder."
        ) from None
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PotentialError(f"{directory}: damaged or not a potential ({error}).") from None
    if header.get("format") != FORMAT:
        raise PotentialError(
            f"{directory}/config.json: format {header.get('format')!r}, expected {FORMAT!r}."
        )
    config = read_config(header["model"])
    saved = next(v.dtype for k, v in tensors.items() if k.startswith("network.") and v.is_floating_point())
    potential = build(
        config, tuple(header["elements"]), neighbours=header["neighbours"], dtype=dtype or saved
    )
    potential.header = header
    potential.load_state_dict(tensors)
    return potential.eval()
