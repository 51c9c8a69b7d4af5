"""Keys of the section ``model`` that say where its weights come from, and what of them is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chemscale.common.sections import ConfigurationError, Count, Positive, read_section
from chemscale.models.adaptation.adaptation import Adaptation
from chemscale.models.adaptation.groups import MATRICES
from chemscale.models.adaptation.lora import Lora

FROM = "from"
PARENT = "parent"
"""Key of a resolved configuration: the hash of the weights that it begins from."""
KEYS = (FROM, PARENT, "new_symbols", "freeze", "lora")
Groups = str | tuple[str, ...]


@dataclass(frozen=True)
class LoraSettings:
    """The section ``model.lora`` (``conf/model/chemgpt.yaml`` says what each key means)."""

    rank: Count | None = None
    alpha: Positive | None = None
    targets: tuple[str, ...] = MATRICES
    also: Groups | None = None


@dataclass(frozen=True)
class TransferSettings:
    """Keys of the section ``model`` beside ``model.from``."""

    new_symbols: Literal["drop", "grow"] = "drop"
    freeze: Groups | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)

    @classmethod
    def read(cls, model: Mapping[str, Any]) -> TransferSettings:
        """Read them from the section ``model``.

        Raises:
            ConfigurationError: a value that makes no sense.
        """
        own = {key: model[key] for key in ("new_symbols", "freeze", "lora") if key in model}
        return read_section(cls, own, "model")

    @property
    def adaptation(self) -> Adaptation:
        """What of the model is trained.

        Raises:
            AdaptationError: keys that do not go together.
        """
        lora = None
        if self.lora.rank is not None:
            alpha = 2.0 * self.lora.rank if self.lora.alpha is None else self.lora.alpha
            lora = Lora(self.lora.rank, alpha, self.lora.targets)
        return Adaptation(_listed(self.freeze), lora, _listed(self.lora.also))

    def effective(self) -> dict[str, Any]:
        """The keys that change anything, as they stand in the configuration that is hashed."""
        found: dict[str, Any] = {"new_symbols": "grow"} if self.new_symbols == "grow" else {}
        adaptation = self.adaptation
        if adaptation.freeze:
            found["freeze"] = list(adaptation.freeze)
        if adaptation.lora is not None:
            lora = adaptation.lora
            found["lora"] = {"rank": lora.rank, "alpha": lora.alpha, "targets": list(lora.targets)}
            if adaptation.also:
                found["lora"]["also"] = list(adaptation.also)
        return found


def _listed(groups: Groups | None) -> tuple[str, ...]:
    return () if groups is None else (groups,) if isinstance(groups, str) else groups


def refuse_idle(model: Mapping[str, Any], settings: TransferSettings) -> None:
    """Refuse keys that mean nothing without trained weights, or without adapters.

    Raises:
        ConfigurationError: one is set.
    """
    if settings.lora.rank is None and settings.lora != LoraSettings():
        raise ConfigurationError(
            "model.lora: without model.lora.rank there are no adapters. Give a rank, for example "
            "model.lora.rank=8, or leave the other keys of model.lora out."
        )
    if model.get(FROM) is None and (found := list(settings.effective())):
        raise ConfigurationError(
            f"model.{found[0]}: it is for a model that is trained already, and would act on random weights "
            "here. Name the run or folder to begin from by model.from."
        )
