"""What a point takes from the model that it begins from: its shape, its vocabulary, its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chemscale.common.sections import ConfigurationError
from chemscale.config.options import option
from chemscale.models.adaptation.adaptation import Adaptation, with_vocabulary
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.settings import MoleculeData
from chemscale.molecules.tokenizers.growing import grow
from chemscale.molecules.tokenizers.opening import load_tokenizer
from chemscale.points.parents.parent import Parent, open_parent
from chemscale.points.parents.settings import FROM, KEYS, PARENT, TransferSettings, refuse_idle
from chemscale.points.shared_data import SharedData

SHAPE = ("width", "layers", "heads", "window", "max_positions")
"""Keys of the section ``model`` that a parent decides."""


def stated_shape(config: Mapping[str, Any], stated: Sequence[str]) -> dict[str, Any]:
    """The section ``model`` with those keys of the shape that somebody set, where it begins from a parent.

    A key that has the value of ``conf/model/chemgpt.yaml`` was set by nobody, unless a command line says so.

    Args:
        config: composed, plain dictionaries.
        stated: overrides of the command line and of the point.
    """
    model = dict(config["model"])
    if model.get(FROM) is None or model.get(PARENT) is not None:
        return model
    typed = {word.lstrip("+~").split("=", 1)[0] for word in stated}
    keys = option("model", "chemgpt").keys
    for key in SHAPE:
        name = f"model.{key}"
        if key in model and name not in typed and str(model[key]) == keys[name].default:
            del model[key]
    return model


@dataclass(frozen=True)
class Beginning:
    """Where a language model begins.

    Args:
        parent: whose weights it takes; None for fresh ones.
        adaptation: what of it is trained.
        grows: whether symbols that the parent lacks are added to its vocabulary.
    """

    parent: Parent | None = None
    adaptation: Adaptation = field(default_factory=Adaptation)
    grows: bool = False

    @classmethod
    def read(cls, config: dict[str, Any]) -> tuple[dict[str, Any], Beginning]:
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
        settings = TransferSettings.read(model)
        refuse_idle(model, settings)
        plain = {key: value for key, value in model.items() if key not in KEYS}
        path = model.get(FROM)
        if path is None:
            return {**config, "model": plain}, cls()
        if not isinstance(path, str) or not path:
            raise ConfigurationError(f"model.from={path}: give the path of a run or folder, or null.")
        parent = open_parent(path)
        begun_with = model.get(PARENT)
        if begun_with not in (None, parent.weights_sha256):
            raise ConfigurationError(
                f"model.from={path}: other weights lie there than when this run was planned. Put them back, "
                "or start the command again, which makes another run of it."
            )
        shape = {key: getattr(parent.config, key) for key in SHAPE}
        for key, value in shape.items():
            if plain.get(key, value) != value:
                raise ConfigurationError(
                    f"model.{key}={plain[key]}: {path} has {value}, and its weights fit no other shape. "
                    f"Leave model.{key} out or give the same, or begin from another model."
                )
        settings.adaptation.frozen(parent.config)  # refused before a corpus is prepared
        inherited = {FROM: path, PARENT: parent.weights_sha256, **settings.effective()}
        model = {**plain, **shape, **inherited}
        return {**config, "model": model}, cls(parent, settings.adaptation, settings.new_symbols == "grow")

    def corpus(self, data: MoleculeData, shared: SharedData, corpora: Path) -> Corpus:
        """The corpus of a section ``data``, in the vocabulary of the parent.

        Args:
            data: the section.
            shared: data that points have in common.
            corpora: where corpora are kept.

        Raises:
            ConfigurationError: another tokenizer is asked for, or the parent's cannot grow.
            ValueError: as ``SharedData.corpus``.
        """
        parent = self.parent
        if parent is None:
            return shared.corpus(data, corpora)
        if data.tokenizer is not None:
            asked = load_tokenizer(Path(data.tokenizer).expanduser())
            if asked.hash != parent.tokenizer.hash:
                raise ConfigurationError(
                    f"data.tokenizer={data.tokenizer}: it is not the one of model.from, whose weights fit no "
                    "other vocabulary. Leave data.tokenizer out: the parent's is taken."
                )
        folder = parent.folder
        if self.grows:
            own = shared.corpus(replace(data, tokenizer=None), corpora).tokenizer
            grown = grow(parent.tokenizer, own)
            if grown.vocab_size > parent.tokenizer.vocab_size:
                folder = corpora / "vocabularies" / grown.hash[:12]
                grown.save(folder)
        return shared.corpus(replace(data, tokenizer=str(folder)), corpora)

    @property
    def suffix(self) -> str:
        """What it adds to the name of a point that has none."""
        if self.parent is None:
            return ""
        lora = self.adaptation.lora
        return f"-lora{lora.rank}" if lora else "-tuned" if self.adaptation.is_full else "-frozen"

    def check_vocabulary(self, model: ChemGPTConfig) -> None:
        """Refuse new symbols whose rows would never be trained.

        Args:
            model: the shape with the vocabulary of the corpus.

        Raises:
            ConfigurationError: there are new symbols, and the table of tokens is frozen.
        """
        parent = self.parent
        if parent is None or model.vocab_size == parent.config.vocab_size:
            return
        if "token_embedding.weight" in self.adaptation.frozen(model):
            new = model.vocab_size - parent.config.vocab_size
            way = "Set model.lora.also=tokens" if self.adaptation.lora else "Leave tokens out of model.freeze"
            raise ConfigurationError(
                f"model.new_symbols=grow: {new} new symbols would keep the rows that they begin with, since "
                f"the table of tokens is frozen. {way}, or set model.new_symbols=drop."
            )

    def build(self, config: ChemGPTConfig) -> ChemGPT:
        """The model with the weights that training begins with.

        Args:
            config: its shape, with the vocabulary of the corpus.
        """
        model = ChemGPT(config) if self.parent is None else with_vocabulary(self.parent.load(), config)
        return self.adapt(model)

    def adapt(self, model: ChemGPT) -> ChemGPT:
        """Freeze and insert what the adaptation says.

        Args:
            model: it is changed and given back.
        """
        return model if self.adaptation.is_full else self.adaptation.apply(model)

    def describe(self, model: ChemGPTConfig, dropped: int) -> str:
        """One line on the parent for the plan; empty without one.

        Args:
            model: shape of the point's model.
            dropped: molecules of its data that the vocabulary cannot write.
        """
        if self.parent is None:
            return ""
        parent, adaptation = self.parent, self.adaptation
        trained, every = adaptation.trained_parameters(model), model.parameter_counts()["all"]
        which = f"{parent.name} ({parent.identity})" if parent.identity else parent.name
        text = (
            f"Begins from {which}, weights {parent.weights_sha256[:12]}: {adaptation.describe()}; "
            f"{trained:,} numbers are trained, of a model of {every:,}."
        )
        if new := model.vocab_size - parent.config.vocab_size:
            text += f" {new} new symbol{'s begin' if new > 1 else ' begins'} as the mean of the others."
        if dropped:
            text += f" {dropped:,} molecules hold symbols that its vocabulary lacks and are left out" + (
                "." if self.grows else "; model.new_symbols=grow adds them."
            )
        return text

    def note(self, model: ChemGPTConfig) -> dict[str, Any]:
        """What the record of the run says of its parent; nothing without one.

        Args:
            model: shape of the point's model.
        """
        if self.parent is None:
            return {}
        adapted = {} if self.adaptation.is_full else {"adaptation": self.adaptation.describe()}
        return {
            "identity": self.parent.identity,
            "name": self.parent.name,
            "weights_sha256": self.parent.weights_sha256,
            "vocabulary": self.parent.tokenizer.hash,
            "new_symbols": model.vocab_size - self.parent.config.vocab_size,
            "trained_parameters": self.adaptation.trained_parameters(model),
            **adapted,
        }


def adaptation_of(model: Mapping[str, Any]) -> Adaptation:
    """What of a model is trained, by the section ``model`` of a record.

    Args:
        model: plain dictionary.
    """
    return TransferSettings.read(model).adaptation
