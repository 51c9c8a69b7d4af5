"""What the tab key offers is what the commands take."""

import subprocess
import sys

import pytest

from chemscale.__main__ import VERBS
from chemscale.cli.completion import candidates, script


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("chemscale gen", ["generate"]),
        ("chemscale generate runs/x --temp", ["--temperature"]),
        ("chemscale launch sta", ["status"]),
        ("chemscale train +sweep=chemgpt_s", ["chemgpt_sizes"]),
        ("chemscale train model.wid", ["model.width="]),
        ("chemscale launch submit +sweep=chemgpt_s", ["chemgpt_sizes"]),
        ("chemscale prepare data=smi", ["smiles"]),
        ("chemscale nothing x", []),
        ("chemscale train data.path='a", []),
    ],
)
def test_a_line_is_completed(line, offered):
    assert candidates(line, VERBS) == offered


def test_an_empty_word_offers_all_verbs():
    assert candidates("chemscale ", VERBS) == sorted(VERBS)


def test_a_real_bash_completes_a_sweep(tmp_path):
    (tmp_path / "chemscale").write_text(f'#!/bin/sh\nexec {sys.executable} -m chemscale "$@"\n')
    (tmp_path / "chemscale").chmod(0o755)
    line = "chemscale train +sweep=painn_d"
    asked = (
        f'{script("bash")}\nCOMP_LINE="{line}" COMP_POINT={len(line)}; _chemscale; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", f"PATH={tmp_path}:$PATH\n{asked}"], capture_output=True, text=True)
    assert done.stdout.strip() == "painn_data"


def test_another_shell_is_refused_by_name():
    with pytest.raises(ValueError, match="fish"):
        script("fish")
