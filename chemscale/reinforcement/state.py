"""An optimisation between two steps, on disk: the agent as a model folder, Adam's moments, and a few numbers.

``state-000120/`` holds ``model/`` (an ordinary folder that every verb opens), ``adam.safetensors`` and
``state.json``; it is renamed to that name once it is whole, and the one before it is then removed. Nothing is
pickled. Random numbers need no state: they are functions of the seed and the step.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from chemscale.common.files import write_json
from chemscale.models.chemgpt import ChemGPT
from chemscale.models.chemgpt_hf import load_pretrained
from chemscale.molecules.loading import save_trained
from chemscale.molecules.tokenizers.opening import AnyTokenizer

REQUEST = "request.json"
TABLE = "molecules.csv"
SCHEMA_VERSION = 1


class StateError(ValueError):
    """A folder of another optimisation, or a damaged one."""


@dataclass
class Position:
    """How far an optimisation is.

    Args:
        step: steps that are done.
        calls: oracle calls before it.
        idle: steps since a molecule was last scored.
        replay: remembered molecules.
    """

    step: int = 0
    calls: int = 0
    idle: int = 0
    replay: list[dict[str, Any]] = field(default_factory=list)


def weights_hash(model: ChemGPT) -> str:
    """SHA-256 of the names and values of a model's weights, wherever they lie."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def open_request(folder: Path, request: Mapping[str, Any]) -> None:
    """Begin an optimisation in a folder, or go on with the one that is there.

    Args:
        folder: of the optimisation; it is made.
        request: plain values that decide its course.

    Raises:
        StateError: the folder holds something else; the message names what differs.
    """
    plain = json.loads(json.dumps({"schema_version": SCHEMA_VERSION, **request}))
    file = folder / REQUEST
    if file.is_file():
        try:
            earlier = json.loads(file.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise StateError(f"{file}: damaged. Choose another --out.") from None
        differing = _differing(earlier, plain)
        if differing and _nothing_done(folder):
            (folder / TABLE).unlink(missing_ok=True)
            write_json(file, plain)
        elif differing:
            raise StateError(
                f"{folder} holds another optimisation: {', '.join(differing)} differ. Choose another "
                "--out, or remove it."
            )
    elif folder.exists() and (not folder.is_dir() or any(p.name != ".lock" for p in folder.iterdir())):
        raise StateError(f"{folder} exists and is no optimisation: choose another --out.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, plain)


def _nothing_done(folder: Path) -> bool:
    """Whether no molecule was scored, and so nothing would be lost: the first call of a function failed."""
    table = folder / TABLE
    scored = table.is_file() and table.read_text().count("\n") > 1
    return not scored and newest(folder) is None


def _differing(earlier: Any, plain: Any, name: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(plain, dict):
        keys = sorted({*earlier, *plain})
        parts = [_differing(earlier.get(k), plain.get(k), f"{name}.{k}".lstrip(".")) for k in keys]
        return [each for part in parts for each in part]
    return [] if earlier == plain else [name]


def save(
    folder: Path,
    position: Position,
    agent: ChemGPT,
    tokenizer: AnyTokenizer,
    adam: torch.optim.Adam,
    *,
    name: str,
    block: int,
) -> None:
    """Write a state, and remove the one before it.

    Args:
        folder: of the optimisation.
        position: how far it is.
        agent: its weights.
        tokenizer: of the agent.
        adam: its moments.
        name: of the agent, for its card.
        block: positions at which a generation ends.
    """
    target = folder / f"state-{position.step:06d}"
    if target.exists():
        return
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    save_trained(agent, tokenizer, partial / "model", name=name, block=block)
    save_file(_moments(agent, adam), partial / "adam.safetensors")
    write_json(partial / "state.json", asdict(position))
    partial.rename(target)
    for other in folder.glob("state-*"):
        if other != target:
            shutil.rmtree(other, ignore_errors=True)


def newest(folder: Path) -> Path | None:
    """The folder of the newest whole state, if there is one."""
    found = [p for p in folder.glob("state-*") if p.suffix != ".part" and (p / "state.json").is_file()]
    return max(found, key=lambda state: int(state.name.partition("-")[2]), default=None)


def load(state: Path, agent: ChemGPT, adam: torch.optim.Adam) -> Position:
    """Put a state into an agent and its optimizer.

    Args:
        state: its folder.
        agent: as it was made.
        adam: of the agent's weights.

    Raises:
        StateError: a file of it is damaged.
        WeightsError: the model of it is.
    """
    saved = load_pretrained(state / "model").state_dict()
    agent.load_state_dict(saved)
    try:
        moments = load_file(state / "adam.safetensors")
        position = Position(**json.loads((state / "state.json").read_text()))
        for name, parameter in agent.named_parameters():
            if f"{name}.step" in moments:
                adam.state[parameter] = {
                    "step": moments[f"{name}.step"],
                    "exp_avg": moments[f"{name}.exp_avg"].to(parameter.device),
                    "exp_avg_sq": moments[f"{name}.exp_avg_sq"].to(parameter.device),
                }
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise StateError(
            f"{state}: damaged ({error}). Remove this folder: the same command then begins at step 0 and "
            "asks for no score that is in molecules.csv."
        ) from None
    return position


def _moments(agent: ChemGPT, adam: torch.optim.Adam) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in agent.named_parameters():
        for key, value in adam.state.get(parameter, {}).items():
            found[f"{name}.{key}"] = value.detach().cpu().contiguous()
    return found
