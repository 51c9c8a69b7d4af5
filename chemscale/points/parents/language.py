"""What a language model takes from a trained one: its shape, its vocabulary, its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from chemscale.common.sections import ConfigurationError
from chemscale.models.adaptation.chemgpt import ChemGPTGroups, chemgpt_groups, with_vocabulary
from chemscale.models.chemgpt import ChemGPT, ChemGPTConfig
from chemscale.molecules.corpus import Corpus
from chemscale.molecules.loading import load_trained
from chemscale.molecules.settings import MoleculeData
from chemscale.molecules.tokenizers.growing import grow
from chemscale.molecules.tokenizers.opening import AnyTokenizer, load_tokenizer
from chemscale.points.parents.beginning import LANGUAGE_SHAPE, Beginning
from chemscale.points.parents.parent import Parent, weights_sha256
from chemscale.points.parents.settings import LanguageTransfer
from chemscale.points.shared_data import SharedData
from chemscale.records import RunRecord


@dataclass(frozen=True)
class LanguageParent(Parent):
    """A trained ChemGPT.

    Args:
        config: its shape.
        tokenizer: that it was trained with.
    """

    files: ClassVar = ("model.safetensors", "config.json", "tokenizer.json")

    config: ChemGPTConfig
    tokenizer: AnyTokenizer

    @property
    def shape(self) -> dict[str, Any]:
        """Keys of the section ``model`` that it decides, with their values."""
        return {key: getattr(self.config, key) for key in LANGUAGE_SHAPE}

    @property
    def groups(self) -> ChemGPTGroups:
        """Its parameters by name."""
        return chemgpt_groups(self.config)

    @classmethod
    def refuse_family(cls, run: Path, family: str) -> None:
        """Refuse a potential, as ``Parent.refuse_family``."""
        if family != "chemgpt":
            raise ValueError(f"{run} is a {family}; only ChemGPTs can be trained further by a ChemGPT.")

    @classmethod
    def read(cls, folder: Path, record: RunRecord | None) -> Self:
        """Open the model of a folder, as ``Parent.read``."""
        model, tokenizer = load_trained(folder, "cpu")
        name = record.name if record else folder.name
        return cls(folder, name, record, weights_sha256(model), model.config, tokenizer)

    def load(self) -> ChemGPT:
        """The model with its weights, on the CPU, in training, as ``Parent.load``."""
        model = load_trained(self.folder, "cpu")[0]
        self.refuse_others(weights_sha256(model))
        return model.train()


@dataclass(frozen=True)
class LanguageBeginning(Beginning[LanguageParent, LanguageTransfer]):
    """Where a language model begins."""

    kind: ClassVar = LanguageParent
    reader: ClassVar = LanguageTransfer

    @property
    def grows(self) -> bool:
        """Whether symbols that the parent lacks are added to its vocabulary."""
        return self.settings is not None and self.settings.new_symbols == "grow"

    @staticmethod
    def groups_of(model: Any) -> ChemGPTGroups:
        """Groups of a ChemGPT."""
        return chemgpt_groups(model.config)

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
        if "token_embedding.weight" in self.adaptation.frozen(chemgpt_groups(model)):
            new = model.vocab_size - parent.config.vocab_size
            way = "Set model.lora.also=tokens" if self.adaptation.lora else "Leave tokens out of model.freeze"
            raise ConfigurationError(
                f"model.new_symbols=grow: {new} new symbols would keep the rows that they begin with, since "
                f"the table of tokens is frozen. {way}, or set model.new_symbols=drop."
            )

    def build(self, config: ChemGPTConfig) -> ChemGPT:
        """The model with the weights that training begins with; what keeps its values is frozen.

        Args:
            config: its shape, with the vocabulary of the corpus.
        """
        model = ChemGPT(config) if self.parent is None else with_vocabulary(self.parent.load(), config)
        return model if self.adaptation.is_full else self.adaptation.apply(model, chemgpt_groups(config))

    def describe(self, model: ChemGPTConfig, dropped: int) -> str:
        """One line on the parent for the plan; empty without one.

        Args:
            model: shape of the point's model.
            dropped: molecules of its data that the vocabulary cannot write.
        """
        if self.parent is None:
            return ""
        trained = self.adaptation.trained_parameters(chemgpt_groups(model))
        text = self.describe_start(trained, model.parameter_counts()["all"])
        if new := model.vocab_size - self.parent.config.vocab_size:
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
        return self.note_start(
            self.adaptation.trained_parameters(chemgpt_groups(model)),
            vocabulary=self.parent.tokenizer.hash,
            new_symbols=model.vocab_size - self.parent.config.vocab_size,
        )
