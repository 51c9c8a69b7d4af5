"""ChemGPT as one ONNX graph: ids and attention mask to logits, for any batch, length and side of padding.

The graph is that of a whole forward pass, without a cache of keys and values: it is for scoring and
embedding, and for generation where a few molecules at a time are enough.

Shapes: B sequences of a batch, L their length with padding, D width, V vocabulary, H heads, K head width.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chemscale.common.logs import errors_only
from chemscale.models.chemgpt import Block, ChemGPT
from chemscale.models.chemgpt_hf import WeightsError

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "last_hidden_state")
LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")
"""They tell of the exporter's own conversions of operators."""
OPSET = 18
"""The first that every runtime of the last years reads, with all that the graph needs."""
INLINE_BYTES = 1 << 30
"""Above, weights lie in a file beside the graph: one protobuf message holds no more than 2 GiB."""


class PlainChemGPT(nn.Module):
    """The model in plain tensor operations, for a rectangle with a mask.

    Equal to ``ChemGPT.dense`` on the tokens that the mask counts; positions begin at each row's first such
    token, so that padding on either side changes nothing.

    Args:
        model: whose weights it shares.
    """

    def __init__(self, model: ChemGPT):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next token (B, L, V), and features after the last norm (B, L, D).

        Args:
            input_ids: (B, L).
            attention_mask: (B, L), 1 for tokens and 0 for padding.
        """
        model = self.model
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        x = model.token_embedding(input_ids) + model.position_embedding(positions)
        place = torch.arange(input_ids.shape[1], device=input_ids.device)
        behind = place[:, None] - place[None, :]
        # A row of padding alone sees itself: a softmax of nothing would be NaN.
        visible = (attention_mask > 0)[:, None, None, :] | (behind == 0)
        for block in model.blocks:
            assert isinstance(block, Block)
            near = behind >= 0 if block.window is None else (behind >= 0) & (behind < block.window)
            x = x + self._attend(block, x, visible & near)
            h = F.layer_norm(x, block.norm_mlp.normalized_shape, block.norm_mlp.weight, block.norm_mlp.bias)
            h = F.gelu(F.linear(h, block.mlp_in.weight, block.mlp_in.bias), approximate="tanh")
            x = x + F.linear(h, block.mlp_out.weight, block.mlp_out.bias)
        hidden = model.norm(x)
        return F.linear(hidden, model.token_embedding.weight), hidden

    @staticmethod
    def _attend(block: Block, x: Tensor, visible: Tensor) -> Tensor:
        """The first residual branch, (B, L, D) → (B, L, D); queries are not divided by √K."""
        batch, length, width = x.shape
        qkv = F.linear(block.norm_attention(x), block.qkv.weight)
        q, k, v = qkv.view(batch, length, 3, block.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-1, -2)).masked_fill(~visible, torch.finfo(x.dtype).min)
        attended = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return F.linear(attended, block.attention_out.weight, block.attention_out.bias)


def save_onnx(model: ChemGPT, path: Path) -> None:
    """Write the graph with its weights, float32, any batch and length.

    Args:
        model: what is saved; on the CPU.
        path: of the file. Weights of more than a GiB lie beside it, in `path` with ``.data`` added.

    Raises:
        WeightsError: the packages of ONNX are not there.
    """
    require_onnx()
    plain = PlainChemGPT(model).eval()
    example = torch.full((2, 3), model.config.eos_id, dtype=torch.int64)
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.config.max_positions)}
    count = sum(each.numel() for each in model.parameters())
    path.parent.mkdir(parents=True, exist_ok=True)
    with errors_only(*LOGGERS), torch.no_grad():
        torch.onnx.export(
            plain,
            (example, torch.ones_like(example)),
            str(path),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=(size, size),
            opset_version=OPSET,
            dynamo=True,
            external_data=4 * count > INLINE_BYTES,
            verbose=False,
        )


def onnx_logits(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Logits (B, L, V) by onnxruntime on the CPU.

    Args:
        path: of the graph.
        ids: (B, L).
        mask: (B, L).

    Raises:
        WeightsError: onnxruntime is not there.
    """
    require_onnx()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    return session.run(["logits"], feed)[0]


def require_onnx() -> None:
    """Refuse where the packages of ONNX are not installed.

    Raises:
        WeightsError: one is missing.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        raise WeightsError(
            f"ONNX needs {', '.join(missing)}, not installed here: pip install 'chemscale[onnx]'."
        )
