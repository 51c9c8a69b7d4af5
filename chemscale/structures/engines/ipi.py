"""Trained potentials for i-PI: the driver that it asks for forces over a socket, by ASE's client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.calculators.socketio import SocketClient

from chemscale.models.potential import Potential
from chemscale.structures.calculator import ChemscaleCalculator

PORT = 31415
"""Where i-PI listens if its input does not say."""


class NoServerError(ValueError):
    """No i-PI answers where it was looked for."""


def serve(
    model: str | Path | Potential,
    atoms: Atoms,
    *,
    unixsocket: str | None = None,
    host: str = "localhost",
    port: int = PORT,
    wait: float = 60.0,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> int:
    """Answer an i-PI with energies, forces and virials until its simulation ends.

    Several may serve one i-PI, which spreads beads over them. Units are converted by ASE's client.

    Args:
        model: a run (its directory, or RUNS/SWEEP/NAME), its ``model`` folder, or a ``Potential``.
        atoms: the elements in i-PI's order, periodic directions, and charge and multiplicity as
            ``ChemscaleCalculator`` reads them; positions and cell come from i-PI. The virial is sent where
            all three directions are periodic, and is 0 otherwise: no barostat without a crystal.
        unixsocket: name in ``<ffsocket mode='unix'><address>NAME``; host and port are not used then.
        host: of i-PI.
        port: of i-PI.
        wait: seconds in which i-PI must begin to listen.
        device: where the network runs; the GPU if there is one and None is given.
        dtype: precision of the network; as trained if None.

    Returns:
        How many times energy and forces were asked for.

    Raises:
        NoServerError: nobody listened in that time.
        PotentialError: no potential is there.
        UnknownElementError: an element that the potential was not made for, before i-PI is looked for.
        UnknownChargeError: a charge or multiplicity that it can know nothing of, likewise.
        BoundaryError: a crystal, where the potential is for molecules alone, likewise.
    """
    served = atoms.copy()
    served.calc = ChemscaleCalculator(model, device=device, dtype=dtype)
    served.get_potential_energy()  # refuses now what it would refuse in i-PI's first step
    client = _connect(unixsocket, host, port, wait)
    answered = 0
    try:
        for _ in client.irun(served, use_stress=bool(served.pbc.all())):
            answered += 1
    except (BrokenPipeError, ConnectionResetError):
        pass  # i-PI has ended while an answer was under way
    return answered


def _connect(unixsocket: str | None, host: str, port: int, wait: float) -> Any:
    end = time.monotonic() + wait
    while True:
        try:
            return SocketClient(host=host, port=port, unixsocket=unixsocket)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if time.monotonic() >= end:
                where = f"the UNIX socket /tmp/ipi_{unixsocket}" if unixsocket else f"{host}:{port}"
                raise NoServerError(
                    f"No i-PI listens at {where} after {wait:g} s: start i-pi input.xml first, with the same "
                    "address in its <ffsocket>."
                ) from error
            time.sleep(0.2)
