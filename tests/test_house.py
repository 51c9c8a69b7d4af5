"""The house holds: imports go down only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "chemscale"
FLOORS = {
    "models": 0,
    "laws": 0,
    "records": 0,
    "positions": 0,
    "memory": 0,
    "plugins": 0,
    "molecules": 1,
    "structures": 1,
    "dashboards": 1,
    "training": 2,
    "tasks": 2,
    "sweeps": 3,
}
VERBS = 4
FORBIDDEN = {
    ("molecules", "laws"),
    ("molecules", "structures"),
    ("structures", "molecules"),
    ("structures", "laws"),
    ("tasks", "training"),
    ("sweeps", "training"),
    ("sweeps", "tasks"),
    ("sweeps", "models"),
}
LIBRARIES = {
    "models": {"pytorch_lightning", "hydra", "omegaconf", "rdkit", "selfies", "wandb"},
    "laws": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "records": {"torch", "pytorch_lightning", "hydra"},
    "dashboards": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "positions": {"pytorch_lightning", "hydra"},
    "sweeps": {"torch", "pytorch_lightning"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "chemscale"}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    mine = room(path)
    floor = FLOORS.get(mine, VERBS)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "chemscale" and len(parts) > 1:
            theirs = parts[1]
            assert FLOORS.get(theirs, VERBS) <= floor, f"{mine} imports {name} from a floor above"
            assert (mine, theirs) not in FORBIDDEN, f"{mine} must not know {name}"
        assert parts[0] not in LIBRARIES.get(mine, set()), f"{mine} must not know {parts[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_small_and_say_what_they_are_for(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert len(text.splitlines()) <= 400


def test_hydra_plugins_stay_a_namespace_package():
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def test_nothing_committed_names_a_registry():
    for name in ("pyproject.toml", "constraints.txt"):
        assert "://" not in (ROOT / name).read_text().replace("https://doi.org", "")
    assert "uv.lock" in (ROOT / ".gitignore").read_text()
