"""Where a model begins: what it takes from a trained one, and what of that is trained further."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Generic, Self, TypeVar

import yaml

from chemscale.common.sections import ConfigurationError
from chemscale.config.options import groups, option
from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.points.parents.parent import Parent, open_parent
from chemscale.points.parents.settings import FROM, PARENT, TransferSettings, refuse_idle

LANGUAGE_SHAPE = ("width", "layers", "heads", "window", "max_positions")
"""Keys of the section ``model`` that the parent of a language model decides."""
P = TypeVar("P", bound=Parent)
S = TypeVar("S", bound=TransferSettings)


def stated_shape(config: Mapping[str, Any], stated: Sequence[str]) -> dict[str, Any]:
    """The section ``model`` with those keys of the shape that somebody set, where it begins from a parent.

    A key that has the value of ``conf/model/FAMILY.yaml``, or of the class of a family that has no such file,
    was set by nobody, unless a command line says so.

    Args:
        config: composed, plain dictionaries.
        stated: overrides of the command line and of the point.
    """
    model = dict(config["model"])
    if model.get(FROM) is None or model.get(PARENT) is not None:
        return model
    typed = {word.lstrip("+~").split("=", 1)[0] for word in stated}
    for key, default in _defaults(str(model.get("family"))).items():
        if key in model and f"model.{key}" not in typed and model[key] == default:
            del model[key]
    return model


def _defaults(family: str) -> dict[str, Any]:
    """What the keys of a family's shape are where nobody sets them."""
    names, fresh = list(LANGUAGE_SHAPE), {}
    if family != "chemgpt":
        from chemscale.models.potentials import CONFIGS

        if family not in CONFIGS:  # refused by its name
            return {}
        names = [field.name for field in fields(CONFIGS[family])]
        fresh = {f.name: f.default for f in fields(CONFIGS[family]) if f.default is not MISSING}
    if family in groups()["model"]:
        keys = option("model", family).keys
        return {n: yaml.safe_load(keys[f"model.{n}"].default) for n in names if f"model.{n}" in keys}
    return fresh


@dataclass(frozen=True)
class Beginning(ABC, Generic[P, S]):
    """Where a model begins; a subclass for each kind of model.

    Args:
        parent: whose weights it takes; None for fresh ones.
        settings: keys of the section ``model`` that are about it.
        adaptation: what of it is trained.
    """

    kind: ClassVar[type[Parent]]
    reader: ClassVar[type[TransferSettings]]

    parent: P | None = None
    settings: S | None = None
    adaptation: Adaptation = field(default_factory=Adaptation)

    @classmethod
    def read(cls, config: dict[str, Any]) -> tuple[dict[str, Any], Self]:
        """The configuration with the parent's shape and the hash of its weights, and where the model begins.

        Without a parent the keys of ``model`` that are about one are left out: such a point is hashed as
        before there were any.

        Args:
            config: resolved, plain dictionaries; it is not changed.

        Raises:
            ConfigurationError: no parent there, or what contradicts it.
            AdaptationError: groups or adapters that cannot be.
        """
        model = config["model"]
        settings = cls.reader.read(model)
        refuse_idle(model, settings)
        plain = {key: value for key, value in model.items() if key not in cls.reader.names()}
        path = model.get(FROM)
        if path is None:
            return {**config, "model": plain}, cls()
        if not isinstance(path, str) or not path:
            raise ConfigurationError(f"model.from={path}: give the path of a run or folder, or null.")
        parent: Any = open_parent(path, cls.kind)
        begun_with = model.get(PARENT)
        if begun_with not in (None, parent.weights_sha256):
            raise ConfigurationError(
                f"model.from={path}: other weights lie there than when this run was planned. Put them back, "
                "or start the command again, which makes another run of it."
            )
        for key, value in parent.shape.items():
            if plain.get(key, value) != value:
                raise ConfigurationError(cls._contradiction(path, key, plain[key], value))
        adaptation = settings.adaptation
        adaptation.frozen(parent.groups)  # refused before data are prepared
        beginning: Any = cls(parent, settings, adaptation)  # type: ignore[arg-type]
        inherited = {FROM: path, PARENT: parent.weights_sha256, **settings.effective(), **beginning.kept()}
        return {**config, "model": {**plain, **parent.shape, **inherited}}, beginning

    @staticmethod
    def _contradiction(path: str, key: str, stated: Any, value: Any) -> str:
        if key == "family":
            return f"model.family={stated}: {path} is a {value}. Add model={value} to the command."
        return (
            f"model.{key}={stated}: {path} has {value}, and its weights fit no other shape. "
            f"Leave model.{key} out or give the same, or begin from another model."
        )

    def kept(self) -> dict[str, Any]:
        """More keys of the section ``model`` that are hashed: what else of the parent decides the result."""
        return {}

    @property
    def suffix(self) -> str:
        """What it adds to the name of a point that has none."""
        if self.parent is None:
            return ""
        lora = self.adaptation.lora
        return f"-lora{lora.rank}" if lora else "-tuned" if self.adaptation.is_full else "-frozen"

    def describe_start(self, trained: int, every: int) -> str:
        """The first sentence on the parent for the plan.

        Args:
            trained: numbers that are trained.
            every: numbers of the model.
        """
        assert self.parent is not None
        parent = self.parent
        which = f"{parent.name} ({parent.identity})" if parent.identity else parent.name
        return (
            f"Begins from {which}, weights {parent.weights_sha256[:12]}: {self.adaptation.describe()}; "
            f"{trained:,} numbers are trained, of a model of {every:,}."
        )

    def note_start(self, trained: int, **more: Any) -> dict[str, Any]:
        """What the record of the run says of its parent.

        Args:
            trained: numbers that are trained.
            more: of this kind of model.
        """
        assert self.parent is not None
        adapted = {} if self.adaptation.is_full else {"adaptation": self.adaptation.describe()}
        return {
            "identity": self.parent.identity,
            "name": self.parent.name,
            "weights_sha256": self.parent.weights_sha256,
            **more,
            "trained_parameters": trained,
            **adapted,
        }

    @classmethod
    def adapted_like(cls, model: Any, section: Mapping[str, Any]) -> Any:
        """A model with the names that checkpoints of a run have; it is changed and given back.

        Args:
            model: of its shape.
            section: ``model`` of the run's record.
        """
        adaptation = cls.reader.read(section).adaptation
        return model if adaptation.is_full else adaptation.apply(model, cls.groups_of(model))

    @staticmethod
    @abstractmethod
    def groups_of(model: Any) -> Any:
        """Groups of a model of this kind."""
