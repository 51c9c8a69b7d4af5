"""DeepSpeed's ZeRO through Lightning's strategy where that is right, and around it where it is not.

Around it, because Lightning 2.6

- divides the loss by the micro-batches of a step, and DeepSpeed does so again;
- refuses CPU ranks, on which every test and certificate runs;
- casts every floating number of a batch to the working precision: coordinates in Å to bf16, reference
  energies in float64 to float32;
- keeps bf16 weights where a mixed precision is asked for.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.utilities.seed import reset_seed
from pytorch_lightning.plugins.precision import DeepSpeedPrecision
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor

from chemscale.hardware.memory import BUCKET, LIVE


class ZeroPrecision(DeepSpeedPrecision):
    """float32 throughout, nothing cast; autocast, where wanted, is put around the task's own steps."""

    def __init__(self) -> None:
        super().__init__("32-true")

    def convert_module(self, module: Any) -> Any:
        return module

    def convert_input(self, data: Any) -> Any:
        return data

    def tensor_init_context(self) -> AbstractContextManager:
        return nullcontext()

    def backward(self, tensor: Tensor, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Propagate the loss as Lightning has divided it, times what DeepSpeed divides it by once more."""
        engine = model.trainer.model
        engine.backward(tensor * engine.gradient_accumulation_steps(), *args, **kwargs)

    def optimizer_step(  # type: ignore[override]
        self, optimizer: Any, model: Any, closure: Any, **kwargs: Any
    ) -> Any:
        result = super().optimizer_step(optimizer, model, closure, **kwargs)
        model.gradient_norm = model.trainer.model.get_global_grad_norm()
        return result


class ZeroStrategy(DeepSpeedStrategy):
    """ZeRO of one stage with a ``torch.optim`` optimizer, on CUDA or on CPU ranks over gloo.

    Args:
        stage: 1, 2 or 3.
        offload: whether the optimizer's state lies in host memory.
        autocast: whether the forward pass runs in bf16 where that is safe.
        process_group_backend: ``nccl``, or ``gloo`` for CPU ranks.
        timeout: of collectives.

    Attributes:
        universal: whether checkpoints are read in DeepSpeed's universal layout, for any number of ranks.
    """

    def __init__(
        self,
        stage: int,
        *,
        offload: bool = False,
        autocast: bool = False,
        process_group_backend: str | None = None,
        timeout: timedelta,
    ):
        self.name = f"zero{stage}"
        self.autocast = autocast
        self.universal = False
        zero: dict[str, Any] = {
            "stage": stage,
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            "overlap_comm": process_group_backend != "gloo",
            "contiguous_gradients": True,
        }
        if offload:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": process_group_backend != "gloo"}
        if stage == 3:
            zero |= {
                "stage3_prefetch_bucket_size": BUCKET,
                "stage3_param_persistence_threshold": 10_000,
                "stage3_max_live_parameters": LIVE,
                "stage3_max_reuse_distance": LIVE,
            }
        super().__init__(
            config={
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "train_micro_batch_size_per_gpu": 1,
                "steps_per_print": 10**9,
            },
            process_group_backend=process_group_backend,
            timeout=timeout,
            precision_plugin=ZeroPrecision(),
        )

    # --- CPU ranks ---

    @property
    def on_cpu(self) -> bool:
        return self._process_group_backend == "gloo"

    @property
    def root_device(self) -> torch.device:
        if self.on_cpu:
            return torch.device("cpu", 0)  # DeepSpeed wants an index
        return super().root_device

    def setup_environment(self) -> None:
        if self.on_cpu:
            prepare_cpu()
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        quieten()
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    # --- the run ---

    def setup(self, trainer: pl.Trainer) -> None:
        if self.autocast:
            module = self.lightning_module
            assert module is not None
            for name in ("training_step", "validation_step"):
                cast = torch.autocast(self.root_device.type, dtype=torch.bfloat16)
                setattr(module, name, cast(getattr(module, name)))
        with warnings.catch_warnings():
            # It remarks on our clipping hook, which leaves clipping to DeepSpeed.
            warnings.filterwarnings("ignore", message=".*handles gradient clipping internally.*")
            super().setup(trainer)

    def _setup_model_and_optimizer(self, model: Any, optimizer: Any, lr_scheduler: Any = None) -> Any:
        from deepspeed.runtime.engine import DeepSpeedEngine

        with mock.patch.object(DeepSpeedEngine, "_broadcast_model", broadcast_weights):
            return super()._setup_model_and_optimizer(model, optimizer, lr_scheduler)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {}  # DeepSpeed saves weights and optimizer itself

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        return {}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write DeepSpeed's parts. A rank that cannot write still goes through the barriers, then raises.

        Args:
            checkpoint: Lightning's state of the run.
            filepath: folder to write into.
            storage_options: not used.

        Raises:
            OSError: of this rank's own writing.
            RuntimeError: likewise.
        """
        engine = self.deepspeed_engine
        write = engine.checkpoint_engine.save
        failures: list[Exception] = []

        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return write(*args, **kwargs)
            except (OSError, RuntimeError) as error:
                failures.append(error)

        left_out = ("state_dict", "optimizer_states")  # DeepSpeed saves them itself
        engine.checkpoint_engine.save = guarded
        engine._copy_recovery_script = lambda *_: None  # rank 0 alone writes it, ahead of a barrier
        try:
            engine.save_checkpoint(
                str(filepath),
                tag="checkpoint",
                save_latest=False,
                client_state={key: value for key, value in checkpoint.items() if key not in left_out},
            )
        finally:
            engine.checkpoint_engine.save = write
        if failures:
            raise failures[0]

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Weights, optimizer and client state, from the layout of this number of ranks or the universal one.

        DeepSpeed unpickles what it reads: ``check_pickles`` has seen it before (``session.check_layout``).
        """
        path = Path(checkpoint_path)
        engine = self.deepspeed_engine
        engine._config.load_universal_checkpoint = self.universal
        inner = engine.optimizer.optimizer
        settings = [{k: v for k, v in g.items() if k not in ("params", "lr")} for g in inner.param_groups]
        _, client = engine.load_checkpoint(
            str(path), tag="universal" if self.universal else "checkpoint", load_lr_scheduler_states=False
        )
        if client is None:
            raise ValueError(f"{path}: DeepSpeed found no checkpoint there.")
        if self.universal:
            # DeepSpeed 0.19 gives every group the settings of the first (weight decay for norms and biases)
            # and one counter of steps to all parameters, which then counts each of them, and leaves it on the
            # CPU, where the fused step must not find it.
            for group, own in zip(inner.param_groups, settings, strict=True):
                group.update(own)
            for parameter, state in inner.state.items():
                if isinstance(state.get("step"), Tensor):
                    state["step"] = state["step"].to(parameter.device, torch.float32, copy=True)
        return client


def broadcast_weights(engine: Any) -> None:
    """Give every rank the weights of rank 0; DeepSpeed's own way cannot send a single number (Allegro's)."""
    for parameter in engine.module.parameters():
        dist.broadcast(parameter.data, src=0, group=engine.seq_data_parallel_group)


def prepare_cpu() -> None:
    """Make DeepSpeed run on CPU ranks without compiling anything.

    Its shared-memory collectives take a minute to build and change nothing in the results.
    """
    import os

    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    quieten()
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def quieten() -> None:
    """Silence DeepSpeed, which logs every setting of every run at INFO and WARNING."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="deepspeed.*")
