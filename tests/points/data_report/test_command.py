"""``python -m chemscale.prepare … report=true``, and its page in a real browser."""

import shutil
import subprocess
import sys

import pytest

from chemscale.points.data_report.page import PAGE
from tests.helpers.molecule_files import SMILES

EVIL = "<img/src=x/onerror=document.title=1>"


@pytest.mark.slow
def test_prepared_molecules_have_a_page_that_a_browser_shows(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed")
    rows = [f"{'C' * n}{text}" for n in range(30) for text in SMILES]
    (tmp_path / "my.smi").write_text("\n".join([*rows, EVIL, "C*"]) + "\n")
    command = [sys.executable, "-m", "chemscale.prepare", "data=smiles", "data.path=my.smi", "report=true"]
    for _ in range(2):  # the second time nothing is prepared
        options = ["data.prepare_workers=1", "data.validation_fraction=0.2"]
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert PAGE in done.stdout + done.stderr
    (page,) = tmp_path.glob(f"corpora/*/{PAGE}")
    wrong, asked = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 600, "height": 900})
        window.on("console", lambda said: wrong.append(said.text))
        window.on("pageerror", lambda error: wrong.append(str(error)))
        window.on("request", lambda request: asked.append(request.url))
        window.goto(page.as_uri())
        assert window.locator("figure svg").count() > 10
        assert EVIL in window.inner_text("body")
        assert "molecules" in window.title()
        widths = window.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
        browser.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1


def test_a_report_needs_prepared_data(tmp_path, monkeypatch):
    from hydra import compose, initialize_config_dir

    from chemscale.common.paths import CONFIG_DIRECTORY
    from chemscale.common.sections import ConfigurationError
    from chemscale.prepare import hydra_main

    (tmp_path / "a.xyz").write_text("")
    with initialize_config_dir(str(CONFIG_DIRECTORY), version_base=None):
        options = ["data=structures", f"data.path={tmp_path / 'a.xyz'}", "lint=only", "report=true"]
        config = compose("prepare", options)
    with pytest.raises(ConfigurationError, match="lint=only prepares nothing"):
        hydra_main.__wrapped__(config)
