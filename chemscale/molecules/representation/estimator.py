"""Embeddings as a transformer of scikit-learn: a step of a pipeline, cloned and pickled like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chemscale.molecules.loading import load_trained
from chemscale.molecules.representation.encoding import Chunk, Encoder, encode_chunk, longest_molecule
from chemscale.molecules.representation.states import check_pooling, layer_number, pooled_states
from chemscale.molecules.representation.stream import in_batches, tokens_of
from chemscale.molecules.representation.table import MoleculeRow

try:
    from sklearn.base import BaseEstimator, TransformerMixin
except ImportError:
    raise ValueError(
        "ChemGPTEmbedding is a transformer of scikit-learn, which is not installed: pip install "
        "'chemscale[probe]'."
    ) from None

UNREADABLE = ("raise", "nan")


class EmbeddingError(ValueError):
    """Molecules that cannot be embedded, or an option that there is not."""


class ChemGPTEmbedding(TransformerMixin, BaseEstimator):
    """SMILES to vectors of a trained model; ``fit`` learns nothing.

    The model is loaded at the first ``fit`` or ``transform`` of a process and is not pickled: a pickle holds
    the path, which must be there where it is opened.

    Args:
        run: a finished point, RUNS/SWEEP/NAME, or a model folder.
        pooling: mean | last | max, over the symbols without begin and end.
        layer: 0 for the embeddings to the number of blocks; negative numbers count from the last.
        unreadable: raise | nan, for molecules that the model cannot read.
        batch: symbols at a time; None for what suits the device. It changes no number.
        device: cpu, cuda, cuda:N, or auto.

    Attributes:
        n_features_out_: numbers of a vector, once it is fitted.
    """

    def __init__(
        self,
        run: str | Path,
        pooling: str = "mean",
        layer: int = -1,
        unreadable: str = "raise",
        batch: int | None = None,
        device: str = "auto",
    ):
        self.run = run
        self.pooling = pooling
        self.layer = layer
        self.unreadable = unreadable
        self.batch = batch
        self.device = device

    def fit(self, X: Sequence[str], y: Any = None) -> ChemGPTEmbedding:
        """Check the options and open the model.

        Args:
            X: SMILES; not looked at.
            y: not needed.

        Raises:
            ValueError: no such model, pooling or layer.
        """
        check_pooling(self.pooling)
        if self.unreadable not in UNREADABLE:
            raise EmbeddingError(f"unreadable={self.unreadable}: choose {' or '.join(UNREADABLE)}.")
        model, _ = self._opened()
        layer_number(model, self.layer)
        self.n_features_out_ = model.config.width
        return self

    def transform(self, X: Sequence[str]) -> np.ndarray:
        """(molecules, D) float32.

        Args:
            X: SMILES: a list, an array or a column of a table.

        Raises:
            EmbeddingError: a molecule cannot be read, unless ``unreadable="nan"``.
        """
        if not hasattr(self, "n_features_out_"):
            self.fit(X)
        texts = [str(text) for text in np.asarray(X, dtype=object).ravel()]
        model, encoder = self._opened()
        rows = [MoleculeRow(i, text, "smiles") for i, text in enumerate(texts)]
        encoded = encode_chunk(Chunk(encoder, rows))
        for row, reason in zip(rows, encoded.reasons, strict=True):
            if reason and self.unreadable == "raise":
                raise EmbeddingError(
                    f"Molecule {row.number} ({row.text[:60]!r}) cannot be embedded: {reason}. Leave it "
                    'out, or give unreadable="nan".'
                )
        out = np.full((len(rows), model.config.width), np.nan, dtype=np.float32)
        there = [i for i, ids in enumerate(encoded.ids) if ids is not None]
        if there:
            sequences = [ids for ids in encoded.ids if ids is not None]
            out[there] = in_batches(
                lambda each: pooled_states(
                    model, each, layer=self.layer, pooling=self.pooling, start=encoder.start
                ),
                sequences,
                tokens_of(self.batch, model),
                lambda _: None,
            )
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names e0, e1, … of the numbers of a vector.

        Args:
            input_features: not needed.
        """
        return np.array([f"e{i}" for i in range(self.n_features_out_)], dtype=object)

    def _opened(self) -> tuple[Any, Encoder]:
        key = (str(self.run), self.device)
        if getattr(self, "_held", (None,))[0] != key:
            model, tokenizer = load_trained(Path(self.run), self.device)
            self._held = (key, model, Encoder.of(tokenizer, longest_molecule(Path(self.run), model.config)))
        return self._held[1], self._held[2]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_held", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags
