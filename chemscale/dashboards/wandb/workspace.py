"""The command ``dashboard wandb``: create the prepared workspace of a project, or bring it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chemscale.common.files import atomic_write
from chemscale.dashboards.wandb.view import TASKS, workspace

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace


class WorkspaceError(ValueError):
    """A workspace that cannot be made; the message names the way out."""


def wandb(
    project: Annotated[str, typer.Argument(help="ENTITY/PROJECT, as in the address of its page.")],
    sweep: Annotated[
        str | None, typer.Option(help="Only the runs of this sweep, in a view of its own.")
    ] = None,
    task: Annotated[str, typer.Option(help="Panels of: language, potential, or both.")] = "both",
    out: Annotated[
        Path | None, typer.Option(help="Write the view as JSON and send nothing: no account is needed.")
    ] = None,
) -> None:
    """Create the W&B workspace of a project: law, points, curves, health, hardware.

    Again, it brings the same view up to date: what was changed in it by hand is replaced.

    Examples:

      python -m chemscale.dashboard wandb my-team/chemscale

      python -m chemscale.dashboard wandb my-team/chemscale --sweep chemgpt_sizes --task language

      python -m chemscale.dashboard wandb my-team/chemscale --out view.json
    """
    entity, name = _names(project)
    view = _build(entity, name, sweep, task)
    if out is not None:
        if out.exists():
            raise WorkspaceError(f"{out} exists: choose another --out or remove it.")
        with atomic_write(out) as file:
            file.write(view._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1))
        typer.echo(
            f"{out}: {len(view.sections)} sections, {sum(len(s.panels) for s in view.sections)} panels"
        )
        return
    typer.echo(f"Workspace: {_save(view)}")


def _names(project: str) -> tuple[str, str]:
    parts = project.strip("/").split("/")
    if len(parts) != 2 or not all(parts):
        raise WorkspaceError(
            f"{project}: give ENTITY/PROJECT, for example my-team/chemscale. The entity is a user or team "
            "and stands in the address of the project's page."
        )
    return parts[0], parts[1]


def _build(entity: str, project: str, sweep: str | None, task: str) -> Workspace:
    if task not in (*TASKS, "both"):
        raise WorkspaceError(f"--task {task}: choose one of {', '.join(TASKS)}, both.")
    try:
        return workspace(entity, project, sweep, tuple(TASKS) if task == "both" else (task,))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "wandb_workspaces":
            raise
        raise WorkspaceError(
            "The package wandb-workspaces is not installed: pip install 'chemscale[wandb-workspaces]'."
        ) from None


def _save(view: Any) -> str:
    """Send a view, in place of the one of its name if there is one.

    Returns:
        The address of its page.

    Raises:
        WorkspaceError: no account, no such project, or a service that does not answer.
    """
    import wandb as client
    from wandb_workspaces.workspaces import internal

    query = internal._internal_name_to_url_query_str(view._internal_name)
    try:
        view._internal_id = internal.get_view_dict(view.entity, view.project, query)["id"]
    except ValueError as error:
        if "not found in project" not in str(error):  # of the view: it is made now
            raise WorkspaceError(
                f"{view.entity}/{view.project}: W&B has no such project, or this account may not see it "
                f"({error}). `wandb sync` a run of it first."
            ) from None
    except Exception as error:
        raise WorkspaceError(_refused(view, error)) from None
    model = view._to_model()
    model.name = view._internal_name
    try:
        found = internal.upsert_view2(model)["upsertView"]["view"]
        view._internal_name, view._internal_id = found["name"], found["id"]
        return str(view.url)
    except (client.errors.Error, KeyError, TypeError, OSError) as error:
        raise WorkspaceError(_refused(view, error)) from None


def _refused(view: Any, error: Exception) -> str:
    return (
        f"{view.entity}/{view.project}: W&B did not take the view ({type(error).__name__}: {error}). "
        "`wandb login` once, or set WANDB_API_KEY; --out FILE writes the view without an account."
    )
