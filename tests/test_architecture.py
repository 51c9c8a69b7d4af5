"""The architecture holds: commands at the root, packages in layers, imports that go down only.

CONTRIBUTING.md has the picture. What is found here is read from the source with ``ast``; imports within
functions, and dotted names in strings, count as imports do.
"""

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from chemscale.__main__ import VERBS
from chemscale.launchers import hooks

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "chemscale"
LAYERS = {
    **dict.fromkeys(("models", "laws", "hardware", "records", "fetching", "objects", "common"), 0),
    **dict.fromkeys(("molecules", "structures", "dashboards"), 1),
    **dict.fromkeys(("training", "tasks", "reinforcement", "probing"), 2),
    **dict.fromkeys(("config", "sweeps", "launchers"), 3),
    **dict.fromkeys(("points", "analysis", "planning"), 4),
    **dict.fromkeys(("cli", "testing", "benchmarking"), 5),
}
COMMANDS = 6
FORBIDDEN = {
    ("molecules", "laws"),
    ("molecules", "structures"),
    ("structures", "molecules"),
    ("structures", "laws"),
    ("tasks", "training"),
    ("sweeps", "training"),
    ("sweeps", "tasks"),
    ("sweeps", "models"),
    ("launchers", "training"),
    ("launchers", "tasks"),
    ("launchers", "models"),
    ("points", "analysis"),
    ("points", "planning"),
    ("analysis", "planning"),
    ("testing", "cli"),
    ("benchmarking", "cli"),
}
LIBRARIES = {
    "common": {"torch", "pytorch_lightning", "hydra", "omegaconf", "rdkit", "selfies", "wandb"},
    "models": {"pytorch_lightning", "hydra", "omegaconf", "rdkit", "selfies", "wandb"},
    "laws": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "records": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "fetching": {"torch", "pytorch_lightning", "hydra", "omegaconf", "rdkit", "selfies", "wandb", "numpy"},
    "objects": {"torch", "pytorch_lightning", "hydra", "omegaconf", "rdkit", "selfies", "wandb", "numpy"},
    "hardware": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "dashboards": {"torch", "pytorch_lightning", "hydra", "omegaconf"},
    "sweeps": {"torch", "pytorch_lightning"},
    "launchers": {"torch", "pytorch_lightning"},
}
LEDGER_NAMES = {("chemscale/train.py", "finish_sweep")}
"""Names that a command keeps because ledgers of version 0.1.0 hold them."""
TORCH_BY_NAME = {"chemscale/common/samplers.py", "chemscale/hardware/devices.py"}
"""A sampler is torch's, and a device."""

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(name: str) -> str:
    """The package of chemscale that a module is in, or the command that it is."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def layer(name: str) -> int:
    return LAYERS.get(package_of(name), COMMANDS)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def only_for_types(path: Path) -> set[ast.AST]:
    """Nodes below ``if TYPE_CHECKING``."""
    blocks = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return {inner for block in blocks for part in block.body for inner in ast.walk(part)}


def imports(path: Path) -> dict[str, ast.AST]:
    """Dotted names that a file imports, anywhere in it, and where; a module's name where it is one."""
    found: dict[str, ast.AST] = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name: node for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found[full if full in MODULES else str(node.module)] = node
    return found


def dotted_names(path: Path) -> set[str]:
    """Strings of a file that are dotted names of ours, docstrings left out."""
    bare = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and node not in bare
        and isinstance(node.value, str)
        and re.fullmatch(r"(chemscale|hydra_plugins)(\.\w+){2,}", node.value)
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    me = module_of(path)
    for name in imports(path):
        if name.split(".")[0] == "chemscale" and name != "chemscale":
            assert layer(name) <= layer(me), f"{me} imports {name} from a layer above"
            pair = (package_of(me), package_of(name))
            assert pair not in FORBIDDEN, f"{me} must not know {name}"
        forbidden = LIBRARIES.get(package_of(me), set())
        if str(path.relative_to(ROOT)) not in TORCH_BY_NAME:
            assert name.split(".")[0] not in forbidden, f"{me} must not know {name}"


def test_no_package_and_no_module_imports_a_command():
    for path in FILES:
        for name in imports(path):
            ours = name.startswith("chemscale.")
            if ours and package_of(name) in VERBS and module_of(path) != "chemscale.__main__":
                raise AssertionError(f"{path.relative_to(ROOT)} imports the command {name}")


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {}
    for name, path in MODULES.items():
        typed = only_for_types(path)
        graph[name] = {n for n, node in imports(path).items() if n in MODULES and node not in typed} - {name}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' → '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_packages_of_one_layer_do_not_import_each_other_in_a_circle():
    graph: dict[str, set[str]] = {name: set() for name in LAYERS}
    for path in FILES:
        me = package_of(module_of(path))
        if me in LAYERS:
            graph[me] |= {package_of(n) for n in imports(path) if n in MODULES} & set(LAYERS) - {me}
    for name, others in graph.items():
        for other in others:
            assert name not in graph[other], f"{name} and {other} import each other"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_dotted_names_in_strings_stand_in_the_module_of_hooks_only(path):
    if module_of(path) not in (hooks.__name__, "chemscale"):  # and in the table of the package's functions
        assert dotted_names(path) <= {"chemscale.testing.equivalence"}  # a script that the certificate starts


def test_every_hook_and_every_class_that_the_configuration_names_can_be_imported():
    for name in dotted_names(Path(hooks.__file__)):
        assert callable(hooks.resolve(name)), name
    targets = [
        match
        for path in sorted((ROOT / "conf").rglob("*.yaml"))
        for match in re.findall(r"_target_: *(\S+)", path.read_text())
    ]
    assert targets
    for target in targets:
        module, _, name = target.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type), target


def test_the_root_holds_commands_only():
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == {*VERBS, "__init__", "__main__"}
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(LAYERS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_is_short_and_offers_nothing_else(verb):
    path = PACKAGE / f"{verb}.py"
    assert len(path.read_text().splitlines()) <= 200
    assert callable(importlib.import_module(f"chemscale.{verb}").main)


def test_help_of_every_command_waits_for_no_heavy_library():
    """Imports within functions buy this, and are there for nothing else."""
    heavy = {"torch", "rdkit", "matplotlib", "scipy", "ase", "pytorch_lightning", "deepspeed", "wandb"}
    code = f"import sys, importlib; [importlib.import_module('chemscale.' + v) for v in {list(VERBS)}]; "
    code += f"print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_stand_in_ledgers_of_older_versions_can_be_imported():
    for path, name in LEDGER_NAMES:
        module = path.removesuffix(".py").replace("/", ".")
        assert callable(hooks.resolve(f"{module}.{name}"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_small_and_say_what_they_are_for(path):
    assert ast.get_docstring(tree(path)), "no module docstring"
    assert len(path.read_text().splitlines()) <= 400


def test_no_folder_holds_more_than_about_a_dozen_modules():
    for folder in {path.parent for path in FILES} - {PACKAGE}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 13, folder


def test_hydra_plugins_stay_a_namespace_package():
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


def test_nothing_committed_names_a_registry():
    for name in ("pyproject.toml", "constraints.txt"):
        assert "://" not in (ROOT / name).read_text().replace("https://doi.org", "")
    assert "uv.lock" in (ROOT / ".gitignore").read_text()
