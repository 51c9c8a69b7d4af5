"""Sweeps through SLURM: ``python -m chemscale.launch submit|status|cancel|logs|requeue-failed|cluster``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from chemscale.cli.app import run_verb

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Sweeps on many GPUs and nodes through SLURM: submit, watch, read logs, cancel, start again.",
)
cluster_app = typer.Typer(
    no_args_is_help=True,
    help="A real SLURM on this one machine, several nodes on loopback, for trying and for tests.",
)
app.add_typer(cluster_app, name="cluster")

Runs = Annotated[Path, typer.Argument(help="Directory of a sweep, runs/NAME.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def submit(context: typer.Context) -> None:
    """Queue a sweep or a point: the arguments of `train`, with launcher=slurm added.

    Plans first, then queues one job array per resource shape and a job that fits the law at the end, prints
    the job ids and returns; launcher.wait=true shows a live table instead. The same command again queues
    only what is neither done nor in flight. Keys: chemscale train --help, conf/launcher/slurm.yaml.

    Examples:

      chemscale launch submit +sweep=chemgpt_sizes site=mycluster launcher.gpus_per_node=8

      chemscale launch submit model=chemgpt_1.2b strategy=zero2 launcher.nodes=2 launcher.gpus_per_node=8
    """
    from chemscale.cli.train_application import main as train

    arguments = list(context.args)
    if not any(argument.startswith("launcher=") for argument in arguments):
        arguments.append("launcher=slurm")
    sys.argv = ["chemscale train", *arguments]
    train()


@app.command()
def status(
    runs: Runs,
    follow: Annotated[bool, typer.Option(help="Redraw until the sweep has ended.")] = False,
) -> None:
    """One line a point: state, steps, loss, starts, job, what SLURM says, node, time left.

    Examples:

      chemscale launch status runs/chemgpt_sizes

      chemscale launch status runs/chemgpt_sizes --follow
    """
    from chemscale.launchers.watch import show_status, watch_until_ended

    if follow:
        watch_until_ended(runs)
    show_status(runs)


@app.command()
def cancel(
    runs: Runs,
    points: Annotated[
        list[str] | None, typer.Argument(help="Names or identities; without: the whole sweep.")
    ] = None,
) -> None:
    """Cancel jobs. Running points save themselves first; the command that queued them continues them.

    Examples:

      chemscale launch cancel runs/chemgpt_sizes

      chemscale launch cancel runs/chemgpt_sizes chemgpt-w64
    """
    from chemscale.launchers.commands import cancel as cancel_points

    typer.echo(cancel_points(runs, points or []))


@app.command()
def logs(
    runs: Runs,
    point: Annotated[str, typer.Argument(help="Name or identity of a point, or law.")],
    rank: Annotated[int, typer.Option(min=0, help="Which rank's log.")] = 0,
    follow: Annotated[bool, typer.Option(help="Go on as it grows; Ctrl-C ends.")] = False,
) -> None:
    """Print what a rank of a point wrote, its newest job first of all.

    Examples:

      chemscale launch logs runs/chemgpt_sizes chemgpt-w64 --rank 3

      chemscale launch logs runs/chemgpt_sizes law
    """
    from chemscale.launchers.commands import newest_log

    path = newest_log(runs, point, rank)
    typer.echo(f"{path}:")
    with path.open(errors="replace") as file:
        while True:
            sys.stdout.write(file.read())
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.5)


@app.command("requeue-failed")
def requeue_failed(runs: Runs) -> None:
    """Queue again what failed, vanished or used up its starts; each point continues from its checkpoint.

    Points that are done, in flight or cancelled are left alone. A new job fits the law at the end.

    Example:

      chemscale launch requeue-failed runs/chemgpt_sizes
    """
    from chemscale.launchers.commands import requeue_failed as requeue

    typer.echo(requeue(runs))


@cluster_app.command("up")
def cluster_up(
    folder: Annotated[Path, typer.Argument(help="Where its state, logs and settings lie.")],
    nodes: Annotated[int, typer.Option(min=1, max=80, help="Nodes.")] = 4,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of a node; may exceed the machine's.")] = 4,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a node: counted and granted, not real.")] = 0,
    accounting: Annotated[bool, typer.Option("--accounting", help="slurmdbd and MariaDB: sacct.")] = False,
    munge: Annotated[bool, typer.Option("--munge", help="Authentication as on a real cluster.")] = False,
) -> None:
    """Start a SLURM of several nodes on this machine.

    Partition main is the default; jobs in partition urgent preempt its jobs, which are queued again.

    Examples:

      chemscale launch cluster up /tmp/slurm --nodes 4

      export SLURM_CONF=/tmp/slurm/slurm.conf

      chemscale launch submit +sweep=chemgpt_sizes site=loopback trainer.accelerator=cpu launcher.nodes=2
    """
    from chemscale.launchers.testbed.cluster import Cluster, up

    where = folder.absolute()
    nodes_of_it = up(
        Cluster(where, nodes=nodes, cpus=cpus, gpus=gpus, accounting=accounting, munge=munge or accounting)
    )
    typer.echo(nodes_of_it.strip())
    typer.echo(f"\nexport SLURM_CONF={where / 'slurm.conf'}")
    typer.echo(f"End it: chemscale launch cluster down {folder}")


@cluster_app.command("down")
def cluster_down(
    folder: Annotated[Path, typer.Argument(help="As given to `cluster up`.")],
) -> None:
    """Cancel its jobs and end its daemons, and nothing else."""
    from chemscale.launchers.testbed.cluster import down

    typer.echo("ended: " + (", ".join(down(folder)) or "nothing ran"))


def main() -> None:
    """Run the command line."""
    run_verb(app)


if __name__ == "__main__":
    main()
