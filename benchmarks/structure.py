"""How easily a package can be read: the size of its folders and functions, types, docstrings, import cycles.

    python benchmarks/structure.py [FOLDER ...]

Each FOLDER is a package (default: chemscale), read from its source; nothing is imported. Lines of code are
neither blank nor a comment alone; docstrings count. Functions include methods and nested ones; the length of
one runs from its ``def``, decorators left out, to its last line.

On version 0.1.0 it finds 31, 39, 32, 59 %, 17.9, 7.9, 9.1 and 0. An earlier comparison, made without it, had
41 for the largest folder (``__init__`` and a folder of templates counted), 17.7 and 8.0 for ``Any``, and 7.4
for imports inside functions.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

IGNORED = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Structure:
    """The figures of one package.

    Args:
        root_files: ``.py`` files directly in the package, ``__init__`` among them.
        largest_folder: modules of the folder with the most, ``__init__`` and subfolders left out.
        long_function: 95th percentile of the lengths of functions, in lines.
        with_docstring: share of functions that have one.
        any_per_kloc: uses of the name ``Any`` per 1000 lines of code, its imports left out.
        dict_any_per_kloc: uses of ``dict[str, Any]`` per 1000 lines of code.
        local_imports_per_kloc: import statements inside functions per 1000 lines of code.
        in_cycles: modules that import themselves through others at module level, ``TYPE_CHECKING`` left out.
    """

    root_files: int
    largest_folder: int
    long_function: int
    with_docstring: float
    any_per_kloc: float
    dict_any_per_kloc: float
    local_imports_per_kloc: float
    in_cycles: int

    def lines(self) -> Iterator[str]:
        """One line a figure, as the table of the comparison names them."""
        yield f"{'.py at the root':36s} {self.root_files:6d}"
        yield f"{'largest flat folder, modules':36s} {self.largest_folder:6d}"
        yield f"{'95th percentile of a function, lines':36s} {self.long_function:6d}"
        yield f"{'functions with a docstring, %':36s} {100 * self.with_docstring:6.0f}"
        yield f"{'Any a kLOC':36s} {self.any_per_kloc:6.1f}"
        yield f"{'dict[str, Any] a kLOC':36s} {self.dict_any_per_kloc:6.1f}"
        yield f"{'imports inside functions a kLOC':36s} {self.local_imports_per_kloc:6.1f}"
        yield f"{'modules in import cycles':36s} {self.in_cycles:6d}"


def measure(package: Path) -> Structure:
    """Read every module of a package.

    Args:
        package: folder of the package.

    Raises:
        FileNotFoundError: it holds no Python.
    """
    paths = sorted(package.rglob("*.py"))
    if not paths:
        raise FileNotFoundError(f"{package}: no .py file below it.")
    texts = {path: path.read_text() for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    kloc = sum(map(code_lines, texts.values())) / 1000
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, Function)]
    folders = {path.parent for path in paths}
    lengths = sorted(node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno)
    documented = sum(ast.get_docstring(node) is not None for node in functions)
    return Structure(
        root_files=len(list(package.glob("*.py"))),
        largest_folder=max(sum(p.name != "__init__.py" for p in f.glob("*.py")) for f in folders),
        long_function=lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))] if lengths else 0,
        with_docstring=documented / max(1, len(functions)),
        any_per_kloc=sum(map(is_any, nodes)) / kloc,
        dict_any_per_kloc=sum(map(is_dict_of_any, nodes)) / kloc,
        local_imports_per_kloc=len(local_imports(functions)) / kloc,
        in_cycles=len(modules_in_cycles(import_graph(package, trees))),
    )


def code_lines(text: str) -> int:
    """Lines with a token that is no comment; of a string of several lines all that are not blank."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in IGNORED:
            found.update(range(token.start[0], token.end[0] + 1))
    lines = text.splitlines()
    return sum(bool(lines[number - 1].strip()) for number in found)


def is_any(node: ast.AST) -> bool:
    """Whether a node is the name ``Any`` or ``typing.Any``."""
    by_name = isinstance(node, ast.Name) and node.id == "Any"
    return by_name or (isinstance(node, ast.Attribute) and node.attr == "Any")


def is_dict_of_any(node: ast.AST) -> bool:
    """Whether a node is ``dict[str, Any]``."""
    return isinstance(node, ast.Subscript) and ast.unparse(node).lower() == "dict[str, any]"


def local_imports(functions: Iterable[Function]) -> set[ast.stmt]:
    """Import statements in the bodies of functions, each once."""
    return {
        node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def import_graph(package: Path, trees: dict[Path, ast.Module]) -> dict[str, set[str]]:
    """Which modules of a package each one imports when it is itself imported."""
    names = {path: _module_name(package, path) for path in trees}
    known = set(names.values())
    graph: dict[str, set[str]] = {}
    for path, tree in trees.items():
        here = names[path]
        home = here if path.name == "__init__.py" else here.rpartition(".")[0]
        graph[here] = {name for name in _imported(tree.body, home, known) if name in known} - {here}
    return graph


def modules_in_cycles(graph: dict[str, set[str]]) -> set[str]:
    """Modules from which a chain of imports leads back to them."""

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += graph[name]
        return found

    return {name for name in graph if name in reachable(name)}


def _module_name(package: Path, path: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(body: Iterable[ast.stmt], home: str, known: set[str]) -> Iterator[str]:
    """Names that statements import outside functions and ``if TYPE_CHECKING``."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")[: len(home.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full in known else module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imported(node.orelse, home, known)
        elif not isinstance(node, Function):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from _imported(getattr(node, part, ()), home, known)


def main() -> None:
    """Print the figures of each package given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="*", type=Path, default=[Path("chemscale")], help="packages to read")
    for folder in parser.parse_args().folder:
        print(folder)
        for line in measure(folder).lines():
            print(f"  {line}")


if __name__ == "__main__":
    main()
