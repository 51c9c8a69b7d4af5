"""What a point asks SLURM for, and what a cluster must be told besides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from chemscale.common.sections import ConfigurationError, read_section
from chemscale.launchers.settings import PointJob


@dataclass(frozen=True)
class SlurmResources:
    """Resources of a point. Points that ask for the same ones share a job array.

    Args:
        nodes: of a point.
        gpus_per_node: ranks on a node, one GPU each if `with_gpus`.
        cpus_per_rank: CPU cores.
        memory_gib: of a node; None for the partition's default.
        minutes: time limit.
        signal_seconds: how long before the time limit ranks are signalled.
        parallel: jobs at once; None for as many as the cluster gives.
        per_gpu: points that share a job and its GPU.
        with_gpus: whether GPUs are asked for.
    """

    nodes: int
    gpus_per_node: int
    cpus_per_rank: int
    memory_gib: float | None
    minutes: int
    signal_seconds: int
    parallel: int | None
    per_gpu: int
    with_gpus: bool

    @classmethod
    def of(cls, job: PointJob) -> SlurmResources:
        """Those of a point."""
        launcher = job.launcher
        return cls(
            nodes=launcher.nodes,
            gpus_per_node=launcher.gpus_per_node,
            cpus_per_rank=launcher.cpus_per_rank,
            memory_gib=launcher.memory_gib,
            minutes=launcher.minutes,
            signal_seconds=launcher.signal_seconds,
            parallel=launcher.parallel,
            per_gpu=launcher.per_gpu,
            with_gpus=job.on_gpus,
        )


@dataclass(frozen=True)
class Site:
    """The section ``site``: what a cluster must be told. What each key means stands in launch/site/none.yaml.

    Names of accounts and the like may be numbers, which YAML reads as such.
    """

    partition: str | int | None = None
    account: str | int | None = None
    qos: str | int | None = None
    constraint: str | int | None = None
    modules: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str | None = None
    container: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Site:
        """Read it from a point's configuration, in which a profile may have left lists empty.

        Raises:
            ConfigurationError: a key that a profile does not have, or a value of the wrong type.
        """
        values = {key: value for key, value in (config.get("site") or {}).items() if value is not None}
        known = [one.name for one in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigurationError(
                f"site.{unknown[0]}: a profile has {', '.join(known)}. Other options of sbatch go into "
                "site.extra."
            )
        return read_section(cls, values, "site")
