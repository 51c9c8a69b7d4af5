"""The figures that compare packages are right on a package small enough to count by hand."""

import ast
from pathlib import Path

import pytest

from benchmarks.structure import code_lines, measure

FILES = {
    "__init__.py": "",
    "run.py": '''"""A command."""

from typing import Any

from toy.inner import first


def main(options: dict[str, Any]) -> Any:
    """Do it."""
    import json

    return json.dumps(first.x)
''',
    "inner/__init__.py": "",
    "inner/first.py": "from toy.inner import second\n\nx = 1\n",
    "inner/second.py": "from typing import TYPE_CHECKING\n\nfrom toy.inner import third\n\n"
    "if TYPE_CHECKING:\n    from toy import run\n",
    "inner/third.py": "from . import first\n\n\ndef late():\n    # no docstring\n"
    "    from toy import run\n\n    return run\n",
}


@pytest.fixture
def toy(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return tmp_path / "toy"


def test_lines_of_code_leave_out_comments_and_blank_lines():
    assert code_lines('"""One.\n\nTwo."""\n# a comment\n\nx = 1  # another\n') == 3


def test_each_figure_is_what_one_counts_by_hand(toy):
    found = measure(toy)
    kloc = sum(map(code_lines, FILES.values())) / 1000
    assert found.root_files == 2  # __init__ and run
    assert found.largest_folder == 3  # inner, without its __init__
    assert found.long_function == 5  # both functions have five lines
    assert found.with_docstring == 0.5
    assert found.any_per_kloc == pytest.approx(2 / kloc)
    assert found.dict_any_per_kloc == pytest.approx(1 / kloc)
    assert found.local_imports_per_kloc == pytest.approx(2 / kloc)
    assert found.in_cycles == 3  # first, second, third; what only types need, or a function, closes none


def test_a_folder_without_python_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="below it"):
        measure(tmp_path)


def test_benchmarks_find_each_other_from_the_root():
    scripts = list((Path(__file__).parents[2] / "benchmarks").glob("*.py"))
    wrong = [
        f"{path.name}: {node.module}"
        for path in scripts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in {script.stem for script in scripts}
    ]
    assert not wrong
