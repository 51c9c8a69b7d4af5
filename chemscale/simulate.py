"""Molecular dynamics with a trained potential: ``python -m chemscale.simulate RUN START --out DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chemscale.cli.app import run_verb
from chemscale.common.exit_status import START_AGAIN

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def simulate(
    run: Annotated[
        Path, typer.Argument(help="A run (its directory, or RUNS/SWEEP/NAME), or a model folder.")
    ],
    start: Annotated[Path, typer.Argument(help="Any file that ASE reads; its last structure is the start.")],
    out: Annotated[Path, typer.Option(help="Folder of this simulation, and of no other.")],
    ensemble: Annotated[str, typer.Option(help="nve, nvt or npt: what is constant.")] = "nvt",
    time: Annotated[str | None, typer.Option(help="How long, such as 100ps; or --steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="How many steps; or --time.")] = None,
    timestep: Annotated[str, typer.Option(help="Of a step: 0.5fs is usual with hydrogen.")] = "0.5fs",
    temperature: Annotated[float, typer.Option(help="K, of the thermostat and the drawn momenta.")] = 300.0,
    thermostat: Annotated[str, typer.Option(help="Of nvt: bussi or langevin.")] = "bussi",
    thermostat_time: Annotated[str, typer.Option(help="In which the thermostat acts.")] = "100fs",
    pressure: Annotated[float, typer.Option(help="bar, of npt.")] = 1.0,
    barostat_time: Annotated[str, typer.Option(help="Period of the barostat, of npt.")] = "1ps",
    equilibrate: Annotated[
        str | None, typer.Option(help="Time with a thermostat that is not counted.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between rows of the log and frames.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the momenta and the thermostat.")] = 0,
    keep_velocities: Annotated[bool, typer.Option(help="Begin with the momenta of START.")] = False,
    stop_bond: Annotated[float, typer.Option(help="Times its length: a bond is broken; 0 for never.")] = 1.5,
    stop_temperature: Annotated[float, typer.Option(help="Times the temperature; 0 for never.")] = 10.0,
    stop_uncertainty: Annotated[
        float | None, typer.Option(help="eV/Å between the forces of a committee on an atom.")
    ] = None,
    committee: Annotated[bool, typer.Option(help="RUN is a sweep whose seeds are a committee.")] = False,
    dispersion: Annotated[
        str, typer.Option(help="auto: D3 where training subtracted it; none; or a functional, such as pbe.")
    ] = "auto",
    charge: Annotated[int | None, typer.Option(help="Total charge in e, in place of the file's.")] = None,
    spin: Annotated[int | None, typer.Option(help="Multiplicity, in place of the file's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32: of the network.")] = "float64",
) -> None:
    """Simulate, and report drift, temperature, distances and bonds with their errors.

    The same command goes on with a simulation that was interrupted, to the same bits as if it had not been;
    with a longer --time it lengthens one that is done. DIR holds log.csv, trajectory.extxyz and, at the end,
    report.html, report.json and report.txt. A broken bond, heat, forces that are not finite or a committee at
    odds end it before its time.

    Examples:

      python -m chemscale.simulate runs/single/painn-w64-l3 ethanol.xyz --time 100ps --out ethanol-300K

      python -m chemscale.simulate RUN START --ensemble nve --equilibrate 5ps --time 100ps --out drift

      python -m chemscale.simulate RUN crystal.cif --ensemble npt --pressure 1 --time 50ps --out npt
    """
    # They load torch: not for --help.
    from chemscale.structures.simulation import settings as reading
    from chemscale.structures.simulation.run import simulate as run_simulation

    asked = reading.from_text(
        ensemble=ensemble,
        time=time,
        steps=steps,
        timestep=timestep,
        times={"thermostat_time": thermostat_time, "barostat_time": barostat_time},
        equilibrate=equilibrate,
        temperature=temperature,
        thermostat=thermostat,
        pressure=pressure,
        every=every,
        seed=seed,
        keep_velocities=keep_velocities,
        stop_bond=stop_bond or None,
        stop_temperature=stop_temperature or None,
        stop_uncertainty=stop_uncertainty,
    )
    options: dict[str, Any] = {"dispersion": None if dispersion == "none" else dispersion}
    if committee:
        options["committee"] = True
    found = run_simulation(
        run, start, out, asked, charge=charge, spin=spin, device=device, dtype=dtype, options=options
    )
    if found.report is None:
        typer.echo(f"Interrupted by {found.interrupted} after step {found.step:,}: the same command goes on.")
        raise typer.Exit(START_AGAIN)
    typer.echo("\n".join(found.report.lines()))
    typer.echo(f"{out}/report.html")


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
