"""PyTorch's fully sharded data parallel (FSDP2): weights, gradients and moments shared among all ranks."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException

from chemscale.training.checkpointing.checkpoints import CheckpointError


class FullyShardedStrategy(ModelParallelStrategy):
    """Each block of the model is gathered for its own forward and backward pass, the rest with the root."""

    name = "fsdp2"

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """As Lightning does.

        Raises:
            CheckpointError: and not PyTorch's own error, which is no ``Exception``.
        """
        try:
            return super().load_checkpoint(checkpoint_path, weights_only)
        except CheckpointException as error:
            raise CheckpointError(f"{checkpoint_path} cannot be read: {error}") from None

    def shard(self, model: nn.Module) -> None:
        """Share the weights of a model among the ranks; called once, before its optimizer is made."""
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]
        blocks: Any = getattr(model, "blocks", ())
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
