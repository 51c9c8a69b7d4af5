"""Another revision is a folder of its files; the checkout stays as it is."""

import subprocess

import pytest

from chemscale.benchmarking.revision import check_out


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    root.mkdir()

    def git(*arguments):
        name = ("-c", "user.name=me", "-c", "user.email=me@here")
        return subprocess.run(
            ["git", "-C", root, *name, *arguments], check=True, capture_output=True, text=True
        ).stdout

    git("init", "-q")
    for text in ("first", "second"):
        (root / "module.py").write_text(text)
        git("add", ".")
        git("commit", "-qm", text)
    (root / "module.py").write_text("in work")
    return root, git


def test_files_of_a_commit_are_written_beside(checkout, tmp_path):
    root, git = checkout
    found = check_out("HEAD~1", tmp_path / "old", root)
    assert (tmp_path / "old" / "module.py").read_text() == "first"
    assert git("rev-parse", "HEAD~1").startswith(found)
    assert (root / "module.py").read_text() == "in work"
    assert len(git("worktree", "list").splitlines()) == 1


def test_a_commit_that_is_not_there_is_refused(checkout, tmp_path):
    with pytest.raises(ValueError, match=r"--against v9: .* has no such commit"):
        check_out("v9", tmp_path / "old", checkout[0])


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no such commit"):
        check_out("HEAD", tmp_path / "old", tmp_path)
