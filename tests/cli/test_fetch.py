"""The command ``fetch``: what is listed, planned, fetched and probed, and with which status it ends."""

import json

import pytest
from typer.testing import CliRunner

from chemscale.cli.completion import candidates
from chemscale.fetch import app
from tests.helpers.file_server import CHALLENGE, FileServer, says, serving

BODY = b"smiles\nCCO\n"


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture
def run(server: FileServer, tmp_path, monkeypatch):
    """Run the command with a registry of two sets whose files lie on the server."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server.files.clear()
    server.asked.clear()
    server.host("/good", BODY)
    server.host("/bad", always=CHALLENGE)
    common = {"about": "some", "licence": "CC0", "citation": "Nobody (2026)", "homepage": "https://x.org"}
    sets = {
        name: {
            **common,
            "kind": "molecules",
            "sources": "made up",
            "files": [
                {"path": "a.csv", "bytes": len(BODY), "mirrors": [server.url(each) for each in mirrors]}
            ],
        }
        for name, mirrors in {"one": ["/bad", "/good"], "two": ["/bad"]}.items()
    }
    (tmp_path / "mine.yaml").write_text(json.dumps({"schema": 1, "sets": sets}))  # JSON is YAML
    monkeypatch.setenv("CHEMSCALE_DATA", str(tmp_path / "home"))
    monkeypatch.setattr("chemscale.fetching.registry.SHIPPED", tmp_path / "mine.yaml")

    def invoke(*arguments: str):
        return CliRunner().invoke(app, list(arguments), catch_exceptions=True)

    return invoke


def test_without_a_name_sets_are_listed(run, server):
    done = run()
    assert done.exit_code == 0
    assert not server.asked
    assert "one   language models  11 bytes  -     CC0" in done.output


def test_a_dry_run_asks_nobody_and_says_what_would_be_done(run, server, tmp_path):
    done = run("one", "--dry-run")
    for said in (
        "licence   CC0",
        "cite      Nobody (2026)",
        "a.csv: 11 bytes; no checksum published",
        "missing",
    ):
        assert said in done.output
    assert not server.asked
    assert not (tmp_path / "home").exists()


def test_a_set_is_fetched_and_its_licence_and_citation_are_printed(run, tmp_path):
    done = run("one")
    assert done.exit_code == 0, done.output
    assert "licence   CC0" in done.output
    assert "cite      Nobody (2026)" in done.output
    assert (tmp_path / "home/one/a.csv").read_bytes() == BODY
    assert "one: " + str(tmp_path / "home/one/a.csv") in done.output
    assert "all " in run().output


def test_what_fails_says_why_and_an_unknown_name_which_there_are(run):
    failed = run("two", "--tries", "0").exception
    assert "x-amzn-waf-action: challenge" in str(failed)
    assert "There are one, two" in str(run("three").exception)


def test_a_probe_fetches_nothing_and_ends_with_1_where_an_address_fails(run, server, tmp_path):
    done = run("--probe", "all")
    assert done.exit_code == 1
    assert not (tmp_path / "home").exists()
    assert f"FAIL  one  {server.url('/bad')}  202 with a challenge" in done.output
    assert f"ok    one  {server.url('/good')}  11 bytes, resumable" in done.output
    assert {headers.get("Range") for _, headers in server.asked} == {"bytes=0-65535"}
    server.host("/bad", BODY, ranges=False)
    assert run("--probe").exit_code == 0
    server.host("/bad", BODY * 2)
    assert "22 bytes, not the 11 that are published" in run("--probe", "two").output
    server.host("/bad", always=says(404))
    assert "404: nothing lies at this address" in run("--probe", "two").output


def test_names_of_sets_are_completed():
    assert candidates("chemscale fetch rmd", ["fetch"]) == ["rmd17"]
    assert candidates("chemscale fetch --dry", ["fetch"]) == ["--dry-run"]


@pytest.mark.parametrize("option", [["--probe"], ["--only", "x"], ["--no-wait"], ["--tries", "1"]])
def test_an_option_that_says_nothing_of_the_hub_is_refused_and_nothing_asked(tmp_path, option):
    command = ["hf://datasets/me/set", *option, "--data", str(tmp_path / "data")]
    with pytest.raises(ValueError, match=f"{option[0].replace('no-', '')} is for sets of a registry"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not (tmp_path / "data").exists()
