"""Keys of the section ``model`` that say where its weights come from, and what of them is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from chemscale.common.sections import ConfigurationError, Count, OpenShare, Positive, read_section
from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.chemgpt import MATRICES
from chemscale.models.adaptation.lora import Lora

FROM = "from"
PARENT = "parent"
"""Key of a resolved configuration: the hash of the weights that it begins from."""
REPLAYED = "replayed"
"""Key of a resolved configuration: the hash of the parent's data, where some of them are learned again."""
Groups = str | tuple[str, ...]


@dataclass(frozen=True)
class LoraSettings:
    """The section ``model.lora`` (``conf/model`` says what each key means)."""

    rank: Count | None = None
    alpha: Positive | None = None
    targets: Groups | None = None
    also: Groups | None = None

    @property
    def adapters(self) -> Lora | None:
        """The adapters; None without a rank."""
        if self.rank is None:
            return None
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return Lora(self.rank, alpha, listed(self.targets))


@dataclass(frozen=True)
class LanguageLora(LoraSettings):
    """The same of a ChemGPT: linear layers of every block by their names."""

    targets: tuple[str, ...] = MATRICES


@dataclass(frozen=True)
class TransferSettings:
    """Keys of the section ``model`` beside ``model.from`` that every kind of model has."""

    freeze: Groups | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    @classmethod
    def names(cls) -> frozenset[str]:
        """All keys of the section that are about a parent."""
        return frozenset({FROM, PARENT, REPLAYED, *(f.name for f in fields(cls))})

    @classmethod
    def read(cls, model: Mapping[str, Any]) -> Self:
        """Read them from the section ``model``.

        Raises:
            ConfigurationError: a value that makes no sense.
        """
        own = {f.name: model[f.name] for f in fields(cls) if f.name in model}
        return read_section(cls, own, "model")

    @property
    def adaptation(self) -> Adaptation:
        """What of the model is trained.

        Raises:
            AdaptationError: keys that do not go together.
        """
        return Adaptation(listed(self.freeze), self.lora.adapters, listed(self.lora.also))

    def effective(self) -> dict[str, Any]:
        """The keys that change anything, as they stand in the configuration that is hashed."""
        found: dict[str, Any] = {}
        for name in (f.name for f in fields(self) if f.name not in ("freeze", "lora")):
            if (value := getattr(self, name)) != getattr(type(self)(), name):
                found[name] = value
        adaptation = self.adaptation
        if adaptation.freeze:
            found["freeze"] = list(adaptation.freeze)
        if adaptation.lora is not None:
            lora = adaptation.lora
            found["lora"] = {"rank": lora.rank, "alpha": lora.alpha, "targets": list(lora.targets)}
            if adaptation.also:
                found["lora"]["also"] = list(adaptation.also)
        return found


@dataclass(frozen=True)
class LanguageTransfer(TransferSettings):
    """Keys of a ChemGPT (``conf/model/chemgpt.yaml``)."""

    lora: LanguageLora = field(default_factory=LanguageLora)
    new_symbols: Literal["drop", "grow"] = "drop"


@dataclass(frozen=True)
class PotentialTransfer(TransferSettings):
    """Keys of a potential (``conf/model/trained.yaml``)."""

    references: Literal["refit", "parent"] = "refit"
    new_elements: Literal["refuse", "add"] = "refuse"
    replay: OpenShare | None = None


def listed(groups: Groups | None) -> tuple[str, ...]:
    """Groups as a tuple, whether one is named, several or none."""
    return () if groups is None else (groups,) if isinstance(groups, str) else groups


def refuse_idle(model: Mapping[str, Any], settings: TransferSettings) -> None:
    """Refuse keys that mean nothing without trained weights, or without adapters.

    Raises:
        ConfigurationError: one is set.
    """
    if settings.lora.rank is None and settings.lora != type(settings)().lora:
        raise ConfigurationError(
            "model.lora: without model.lora.rank there are no adapters. Give a rank, for example "
            "model.lora.rank=8, or leave the other keys of model.lora out."
        )
    if model.get(FROM) is None and (found := list(settings.effective())):
        raise ConfigurationError(
            f"model.{found[0]}: it is for a model that is trained already, and would act on random weights "
            "here. Name the run or folder to begin from by model.from."
        )
