"""``openmmml.MLPotential("chemscale")``: found by OpenMM-ML through this package's entry point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from chemscale.structures.engines.openmm import OpenMMError, add_potential


class ChemscalePotentialFactory(MLPotentialImplFactory):
    """Makes what OpenMM-ML asks for by the name "chemscale"."""

    def createImpl(self, name: str, **args: Any) -> MLPotentialImpl:
        """A potential for OpenMM-ML.

        Args:
            name: "chemscale".
            args: ``model``, as ``add_potential`` takes it; ``charge``, ``spin``, ``device`` and ``dtype``,
                which ``createSystem`` may name as well.

        Raises:
            OpenMMError: no model.
        """
        if "model" not in args:
            raise OpenMMError(
                f'MLPotential("{name}") needs model=RUN: the directory of a run, or its model folder.'
            )
        return ChemscalePotential(args)


class ChemscalePotential(MLPotentialImpl):
    """A trained potential, whole systems or a part of one."""

    def __init__(self, options: dict[str, Any]):
        self._options = options

    def addForces(
        self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        """Add the force, as OpenMM-ML asks for it.

        Args:
            topology: an ``openmm.app.Topology``.
            system: the ``openmm.System`` that is made.
            atoms: indices that it acts on; None for all.
            forceGroup: of the new force.
            args: of ``createSystem``, before those of ``MLPotential``.
        """
        options = {**self._options, **{key: args[key] for key in _OPTIONS if key in args}}
        add_potential(
            system, topology, options.pop("model"), particles=atoms, force_group=forceGroup, **options
        )

    def getMLLongRange(self) -> bool:
        """Whether it reaches beyond a cutoff where the system is periodic: never."""
        return False


_OPTIONS = ("charge", "spin", "device", "dtype", "periodic")
