"""ChemGPT: GPT-Neo over SELFIES (Frey et al. 2023), equal to ``transformers``' ``GPTNeoForCausalLM``.

Shapes: T tokens of the flat packed batch, D width, V vocabulary, B sequences of a generation batch.

Pre-norm decoder with learned positions and tied embeddings. Layers alternate between global attention and
a local window of 256 tokens; queries are not divided by √(head width); query, key and value have no bias.
The whole family has 24 layers and 16 heads, only the width varies (``docs`` and ``conf/model``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from chemscale.models.kernels.gelu import gelu
from chemscale.models.kernels.products import Linear, linear
from chemscale.models.layers.attention import document_attention
from chemscale.models.layers.documents import Attending, Documents
from chemscale.models.layers.key_values import KeyValueCache

LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class ChemGPTConfig:
    """The numbers that define one ChemGPT.

    Args:
        vocab_size: V, specials included.
        width: D.
        layers: blocks.
        heads: attention heads of a block.
        window: tokens that a local layer sees, the query's own included.
        max_positions: longest sequence.
        initializer_range: standard deviation of fresh weights.
        pad_id: of padding.
        bos_id: of the begin symbol.
        eos_id: of the end symbol.

    Raises:
        ValueError: the width cannot be shared among the heads, or a size is not positive.
    """

    vocab_size: int
    width: int
    layers: int = 24
    heads: int = 16
    window: int = 256
    max_positions: int = 2048
    initializer_range: float = 0.02
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        for key in ("vocab_size", "width", "layers", "heads", "window", "max_positions"):
            if getattr(self, key) < 1:
                raise ValueError(f"model.{key}={getattr(self, key)}: must be at least 1.")
        if self.width % self.heads:
            raise ValueError(
                f"model.width={self.width} cannot be shared among model.heads={self.heads}: "
                f"choose a multiple of {self.heads}, or set model.heads."
            )

    def window_of(self, layer: int) -> int | None:
        """GPT-Neo's pattern: even layers are global (None), odd layers local."""
        return self.window if layer % 2 else None

    def parameter_counts(self) -> dict[str, int]:
        """Trainable numbers under each convention, from the shapes alone (nothing is allocated)."""
        d, n = self.width, self.layers
        matrices = 12 * n * d * d
        blocks = matrices + 10 * n * d
        non_embedding = blocks + 2 * d
        return {
            "all": non_embedding + self.vocab_size * d + self.max_positions * d,
            "non_embedding": non_embedding,
            "blocks": blocks,
            "matrices": matrices,
        }

    def forward_flops(self, tokens: int, pairs: int) -> int:
        """Count the FLOPs of one forward pass.

        Matrix products of the blocks and the head, and attention over each molecule's own tokens; a
        multiply-add is two. Attention is counted in full (no halving for the causal mask), as Kaplan et
        al. 2020 and PaLM do, and per molecule: packing does not enter. Training costs three times this.

        Args:
            tokens: Σ n over molecules of n tokens.
            pairs: Σ n².
        """
        weights = 12 * self.layers * self.width**2 + self.vocab_size * self.width
        return 2 * weights * tokens + 4 * self.layers * self.width * pairs

    def to_dict(self) -> dict[str, Any]:
        """Its fields by name."""
        return asdict(self)


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)); the MLP is four times the width with tanh-GELU.

    Args:
        config: shape of the model.
        layer: number of the block, which decides its window.
    """

    def __init__(self, config: ChemGPTConfig, layer: int):
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.window = config.window_of(layer)
        self.norm_attention = nn.LayerNorm(d, eps=LAYER_NORM_EPSILON)
        self.qkv = Linear(d, 3 * d, bias=False)
        self.attention_out = Linear(d, d)
        self.norm_mlp = nn.LayerNorm(d, eps=LAYER_NORM_EPSILON)
        self.mlp_in = Linear(d, 4 * d)
        self.mlp_out = Linear(4 * d, d)

    def mlp(self, x: Tensor) -> Tensor:
        """The second residual branch, (T, D) → (T, D)."""
        return self.mlp_out(gelu(self.mlp_in(self.norm_mlp(x))))

    def forward(self, x: Tensor, documents: Documents | Attending) -> Tensor:
        """The block over a flat packed batch, (T, D) → (T, D)."""
        attended = document_attention(self.qkv(self.norm_attention(x)), self.heads, documents, self.window)
        x = x + self.attention_out(attended)
        return x + self.mlp(x)

    def step(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """One more token of each sequence, (B, D) → (B, D), reading and extending the cache."""
        attended = cache.attend(layer, self.qkv(self.norm_attention(x)), self.heads, self.window)
        x = x + self.attention_out(attended)
        return x + self.mlp(x)


class ChemGPT(nn.Module):
    """The language model: logits over the next SELFIES symbol.

    ``forward`` takes a flat packed batch and its document mask; ``dense`` an ordinary (B, L) batch; ``step``
    one position of a generation with a key-value cache.

    ``recompute`` drops the activations of a block and computes them again in the backward pass: a block then
    keeps its input alone, (T, D), for a third more time and the same numbers (Chen et al. 2016).

    N. C. Frey, R. Soklaski, S. Axelrod, S. Samsi, R. Gómez-Bombarelli, C. W. Coley and V. Gadepally, Neural
    scaling of deep chemical models, Nature Machine Intelligence 5, 1297 (2023).

    Args:
        config: shape of the model.
    """

    def __init__(self, config: ChemGPTConfig):
        super().__init__()
        self.config = config
        self.recompute = False
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.max_positions, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPSILON)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def hidden(self, tokens: Tensor, positions: Tensor, documents: Documents | Attending) -> Tensor:
        """Features after the last norm, (T, D).

        Args:
            tokens: (T,) ids.
            positions: (T,) of each token within its molecule.
            documents: which tokens form a molecule.
        """
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        recompute = self.recompute and torch.is_grad_enabled()
        for block in self.blocks:
            if recompute:
                # Shapes are not compared: ZeRO-3 keeps a weight empty while it is not gathered.
                x = checkpoint(
                    block,
                    x,
                    documents,
                    use_reentrant=False,
                    preserve_rng_state=False,
                    determinism_check="none",
                )
            else:
                x = block(x, documents)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits through the tied embedding, (…, D) → (…, V)."""
        return linear(hidden, self.token_embedding.weight)

    def forward(self, tokens: Tensor, positions: Tensor, documents: Documents | Attending) -> Tensor:
        """Logits of the next token, (T, V); arguments as ``hidden``."""
        return self.logits(self.hidden(tokens, positions, documents))

    def dense(self, tokens: Tensor) -> Tensor:
        """Logits of ordinary sequences, (B, L) → (B, L, V); right padding changes nothing before it."""
        batch, length = tokens.shape
        positions = torch.arange(length, device=tokens.device).repeat(batch)
        documents = Documents.rectangle(batch, length, tokens.device)
        return self(tokens.reshape(-1), positions, documents).view(batch, length, -1)

    def step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """The next position of each sequence, (B,) → (B, V); the cache grows by one."""
        x = self.token_embedding(tokens) + self.position_embedding.weight[cache.length]
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.step(x, cache, layer)
        cache.length += 1
        return self.logits(self.norm(x))
