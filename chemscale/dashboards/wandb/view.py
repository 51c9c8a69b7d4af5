"""The prepared W&B workspace of a project of sweeps: sections and panels, built without a server.

Panels name the metrics that ``chemscale.training.trackers.wandb`` logs and keys of a run's summary; a test
holds them together. Sections: law, points, curves, health, hardware.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


@dataclass(frozen=True)
class Task:
    """What the workspace shows of one kind of model.

    Args:
        axis: its data in rows and summary.
        size: the summary key of the data it was given.
        losses: metric and title; the first is the law's.
        rates: metric and title.
    """

    axis: str
    size: str
    losses: tuple[tuple[str, str], ...]
    rates: tuple[tuple[str, str], ...]


TASKS = {
    "language": Task(
        "tokens",
        "data.tokens",
        (
            ("nats_per_token", "nats per token"),
            ("nats_per_molecule", "nats per molecule"),
            ("nats_per_heavy_atom", "nats per heavy atom"),
        ),
        (("tokens_per_second", "tokens/s, padding not counted"), ("molecules_per_second", "molecules/s")),
    ),
    "potential": Task(
        "frames",
        "data.unique_frames",
        (
            ("forces_mae", "force MAE (meV/Å)"),
            ("energy_mae_per_atom", "energy MAE (meV/atom)"),
            ("objective", "objective"),
        ),
        (("atoms_per_second", "atoms/s"), ("frames_per_second", "frames/s")),
    ),
}
AXES = {"tokens": "training tokens", "frames": "training frames seen", "flops": "training compute (FLOP)"}
COLUMNS = (
    "summary:state",
    "summary:parameters.matrices",
    "summary:parameters.blocks",
    "summary:parameters.non_embedding",
    "summary:parameters.all",
    "summary:data.tokens",
    "summary:data.unique_frames",
    "summary:compute.flops",
    "summary:final.nats_per_token",
    "summary:final.nats_per_heavy_atom",
    "summary:final.forces_mae",
    "summary:final.energy_mae_per_atom",
    "summary:seed",
    "summary:attempts",
    "summary:reason",
)
"""Of the list of runs: N under every convention, D, C, losses, seed."""
LAW_FIGURE, LAW_TABLE = "law/figure", "law/points"


def workspace(
    entity: str, project: str, sweep: str | None = None, tasks: Sequence[str] = tuple(TASKS)
) -> Workspace:
    """Build the workspace as an object of wandb-workspaces; nothing is sent.

    Args:
        entity: user or team.
        project: of W&B.
        sweep: show the runs of one sweep only.
        tasks: of `TASKS`, in their order.
    """
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    chosen = [TASKS[name] for name in tasks]
    filters: Any = [expr.Metric("Group") == sweep] if sweep else ""
    view = ws.Workspace(
        entity=entity,
        project=project,
        name=f"chemscale: {sweep}" if sweep else "chemscale",
        sections=[
            _section("Law", _law(chosen), columns=2, rows=2),
            _section("Points", _points(), columns=1, rows=1),
            _section("Curves", [panel for task in chosen for panel in _curves(task)], columns=3, rows=2),
            _section("Health", _health(chosen), columns=3, rows=2),
            _section("Hardware", _hardware(chosen), columns=3, rows=2),
        ],
        settings=ws.WorkspaceSettings(max_runs=100, sort_panels_alphabetically=False),
        runset_settings=ws.RunsetSettings(
            filters=filters,
            order=[expr.Ordering(expr.Summary("parameters.matrices"), ascending=True)],
            pinned_columns=list(COLUMNS),
        ),
    )
    view._internal_name = internal_name(sweep)
    return view


def internal_name(sweep: str | None) -> str:
    """The name by which a view is found again: one of each sweep, whoever makes it."""
    return f"nw-cs{hashlib.sha256((sweep or '').encode()).hexdigest()[:9]}-v"


def _section(title: str, panels: list[Any], *, columns: int, rows: int) -> Any:
    import wandb_workspaces.workspaces as ws

    layout = ws.SectionLayoutSettings(columns=columns, rows=rows)
    return ws.Section(name=title, panels=panels, is_open=True, layout_settings=layout)


def _law(tasks: Sequence[Task]) -> list[Any]:
    """The fitted law's figure, and every run's end against each resource, in log-log."""
    import wandb_workspaces.reports.v2 as wr

    panels: list[Any] = [wr.MediaBrowser(title="fitted law", media_keys=[LAW_FIGURE], num_columns=1)]
    for task in tasks:
        key, title = task.losses[0]
        for size, label in (
            ("compute.flops", "training compute C (FLOP)"),
            ("parameters.matrices", "parameters N (matrices)"),
            (task.size, AXES[task.axis].removesuffix(" seen") + " D"),
            ("compute.joules", "energy of training (J)"),
        ):
            panels.append(
                wr.ScatterPlot(
                    title=f"{title} against {label}",
                    x=wr.SummaryMetric(size),
                    y=wr.SummaryMetric(f"final.{key}"),
                    log_x=True,
                    log_y=True,
                )
            )
    return panels


def _points() -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    return [wr.WeavePanelSummaryTable(table_name=LAW_TABLE), wr.RunComparer(diff_only="split")]


def _line(metric: str, title: str, axis: str, **more: Any) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x=axis,
        y=[metric],
        title_x=AXES[axis],
        max_runs_to_show=100,
        smoothing_type="none",
        **more,
    )


def _curves(task: Task) -> list[Any]:
    """Losses against data and against compute; runs of one name (other seeds) are one line with its range."""
    panels = []
    for key, title in task.losses:
        for axis in (task.axis, "flops"):
            panels.append(
                _line(
                    f"validation/{key}",
                    f"validation: {title}",
                    axis,
                    log_x=True,
                    log_y=True,
                    groupby="Name",
                    groupby_aggfunc="mean",
                    groupby_rangefunc="minmax",
                )
            )
    panels.append(_line("train/loss", "training loss", task.axis, log_x=True, log_y=True))
    return panels


def _health(tasks: Sequence[Task]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    panels = []
    for task in tasks:
        panels += [
            _line("train/gradient_norm", "gradient norm before clipping", task.axis, log_y=True),
            _line("train/clipped_percent", "steps that were clipped (%)", task.axis),
            _line("train/left_out", "steps without a finite gradient", task.axis),
            _line("train/loss", "training loss, spikes shown", task.axis, ignore_outliers=False),
            _line("train/lr", "learning rate", task.axis),
        ]
    events = (
        ("attempts", "starts"),
        ("roll_backs", "roll-backs after a spike"),
        ("skipped_steps", "steps left out"),
    )
    return panels + [wr.BarPlot(title=title, metrics=[key], max_bars_to_show=100) for key, title in events]


def _hardware(tasks: Sequence[Task]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    panels = []
    for task in tasks:
        panels += [_line(f"truth/{key}", title, task.axis) for key, title in task.rates]
        panels += [
            _line(f"truth/{key}", title, task.axis)
            for key, title in (
                ("mfu_percent", "MFU (%), where the peak is known"),
                ("padding_percent", "padding (%)"),
                ("data_wait_percent", "waiting for data (%)"),
                ("peak_memory_gib", "peak memory (GiB)"),
                ("watts", "power (W), where it can be read"),
            )
        ]
    return [
        *panels,
        wr.BarPlot(title="energy (J)", metrics=["compute.joules"], max_bars_to_show=100),
    ]
