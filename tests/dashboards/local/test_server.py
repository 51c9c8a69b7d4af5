"""The served page by real requests, and the command as a real process."""

import gzip
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from chemscale.records import State
from tests.helpers.local_runs import grow, served, write_law, write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for width in (16, 24, 32):
        write_run(root / "sizes", f"w{width}", matrices=96 * width**2, loss=4 * width**-0.2)
    write_run(root / "sizes", "going", State.RUNNING, steps=50)
    write_law(root / "sizes")
    return root


@pytest.fixture(scope="module")
def address(runs):
    with served(runs) as (url, _):
        yield url


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content; the path is sent as it is written."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.headers.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    return answer.status, dict(answer.headers), content


def test_the_page_asks_nothing_of_others_and_says_so_to_the_browser(address):
    status, headers, content = ask(address, "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(rb"""(?:src|href)=["'](?!data:)""", content)
    assert b"http" not in re.sub(rb"http-equiv", b"", content)


def test_the_state_is_sent_once_and_then_only_what_is_new(runs, address):
    _, headers, content = ask(address, "/api/state", Accept_Encoding="gzip")
    state = json.loads(content)
    assert len(state["rows"]) == 4
    assert headers["Content-Type"] == "application/json"
    known = f"/api/state?boot={state['boot']}&since={state['version']}"
    time.sleep(1.5)  # the law is read beside the state
    _, headers, content = ask(address, known)
    version = json.loads(content)["version"]
    assert ask(address, known, If_None_Match=headers["ETag"])[0] == 304
    grow(runs / "sizes" / "going", 60, 1.7)
    time.sleep(1.5)
    status, _, content = ask(
        address, f"/api/state?boot={state['boot']}&since={version}", If_None_Match=headers["ETag"]
    )
    assert status == 200
    assert set(json.loads(content)["rows"]) == {"sizes/going"}
    _, _, content = ask(address, f"/api/state?boot=another&since={version}")
    assert len(json.loads(content)["rows"]) == 4


def test_curves_are_sent_by_metric_and_only_where_they_grew(runs, address):
    _, _, content = ask(address, "/api/curves?sweep=sizes&metric=validation/nats_per_token&metric=train/loss")
    found = json.loads(content)
    assert len(found["curves"]) == 4
    assert set(found["curves"]["sizes/w16"]) == {"validation/nats_per_token", "train/loss"}
    grow(runs / "sizes" / "going", 70, 1.6)
    time.sleep(1.5)
    ask(address, "/api/state")
    query = f"sweep=sizes&metric=train/loss&boot={found['boot']}&since={found['version']}"
    _, _, content = ask(address, f"/api/curves?{query}")
    later = json.loads(content)["curves"]
    assert set(later) == {"sizes/going"}
    assert later["sizes/going"]["train/loss"]["y"][-1] == 1.6
    assert ask(address, "/api/curves?sweep=sizes")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "/../../../etc/passwd", "/report/../../etc/passwd", "/report/%2e%2e/%2e%2e/etc/passwd",
        "/report/sizes/law/law.json", "/sizes/w16/record.json", "/api", "/report/",
    ],
)  # fmt: skip
def test_nothing_but_the_known_pages_is_given_out(address, path):
    assert ask(address, path)[0] == 404


def test_a_report_is_given_out_without_leave_to_run_anything(address):
    time.sleep(1.5)
    ask(address, "/api/state")
    status, headers, content = ask(address, "/report/sizes/law/report.html")
    assert status == 200
    assert b"<!doctype html>" in content
    assert "sandbox" in headers["Content-Security-Policy"]


def test_a_report_that_is_a_link_to_another_file_is_not_given_out(tmp_path):
    write_run(tmp_path / "runs" / "sizes", "w16")
    write_law(tmp_path / "runs" / "sizes")
    (tmp_path / "private").write_text("not for others")
    report = tmp_path / "runs" / "sizes" / "law" / "report.html"
    report.unlink()
    report.symlink_to(tmp_path / "private")
    with served(tmp_path / "runs") as (url, _):
        ask(url, "/api/state")
        assert ask(url, "/report/sizes/law/report.html")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_sent_to_it(address, method):
    assert ask(address, "/api/state", method)[0] == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421), ("evil.example:8765", 421), ("localhost.evil.example", 421), ("", 421),
        ("localhost:1", 200), ("127.0.0.1:9", 200), ("[::1]:9", 200), ("LOCALHOST", 200),
    ],
)  # fmt: skip
def test_a_foreign_name_that_was_pointed_here_is_refused(address, host, status):
    assert ask(address, "/", Host=host)[0] == status


def test_a_name_that_was_allowed_is_answered(runs):
    with served(runs, "--allow-host", "hub.example") as (url, _):
        assert ask(url, "/", Host="hub.example")[0] == 200


def test_ctrl_c_ends_it_cleanly_and_the_tunnel_was_shown(runs):
    with served(runs) as (url, process):
        ask(url, "/api/state")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        # Not communicate(): it would miss what readline() has read ahead.
        out, errors = process.stdout.read(), process.stderr.read()
        assert "ended" in out
        port = urlsplit(url).port
        assert f"ssh -N -L {port}:127.0.0.1:{port} " in out
        assert errors == ""


def test_it_listens_on_this_machine_only_and_warns_where_others_may_read(runs):
    with served(runs) as (url, _):
        assert url.startswith("http://127.0.0.1:")
    with served(runs, "--host", "0.0.0.0") as (url, process):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "everyone who can reach this machine" in process.communicate(timeout=20)[1]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "chemscale.dashboard", "local", *words]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60)


def test_a_port_in_use_is_named_and_without_one_the_next_is_taken(runs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command(str(runs), "--port", str(port))
        assert done.returncode == 2
        assert f"--port {port} is taken" in done.stderr
    with served(runs) as (first, _), served(runs) as (second, _):
        assert first != second


def test_wrong_arguments_are_told_in_words(runs, tmp_path):
    missing = command(str(tmp_path / "nothing"))
    assert missing.returncode == 2
    assert "no such folder" in missing.stderr
    folder = command(str(runs), "--out", str(tmp_path))
    assert folder.returncode == 2
    assert "is a folder" in folder.stderr
    host = command(str(runs), "--host", "192.0.2.1")
    assert host.returncode == 2
    assert "an address of this machine" in host.stderr


def test_a_written_page_stands_alone_and_holds_what_names_cannot_break_out_of(tmp_path):
    write_run(tmp_path / "runs" / "sweep", "</script><script>alert(1)</script>")
    page = tmp_path / "out" / "page.html"
    done = command(str(tmp_path / "runs"), "--out", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "alert(1)" in text
    held = re.search(r'<script type="application/json" id="snapshot">(.*?)</script>', text, re.S)
    assert held is not None
    snapshot = json.loads(held[1])
    assert next(iter(snapshot["curves"]["sweep"]["curves"].values()))["train/loss"]["y"]
    assert list(page.parent.iterdir()) == [page]
