"""A worker is told to take turns, and what it says before it dies is passed on."""

import sys
import textwrap

import pytest

from chemscale.benchmarking.processes import Worker, WorkerError, WorkerProcess, environment

SPEAKS = """
    import json, os, sys
    print("libraries print", file=sys.stderr)
    say = lambda content: print(json.dumps(content), flush=True)
    say({"ready": {"argv": sys.argv[1:], "threads": os.environ["OMP_NUM_THREADS"]}})
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("stop"):
            say({"peak_mib": 7.0})
            break
        if request["steps"] == 13:
            sys.exit("no thirteen steps")
        say({"seconds": request["seconds"], "steps": request["steps"], "amount": 5.0})
"""


@pytest.fixture
def start(tmp_path):
    running = []

    def start(code, **work):
        script = tmp_path / "worker.py"
        script.write_text(textwrap.dedent(code))
        worker = Worker("one, eager", str(script), work, sys.executable)
        running.append(WorkerProcess(worker, tmp_path / "place", device="cpu", threads=3, warmup=2))
        return running[-1]

    yield start
    for process in running:
        process.kill()


def test_a_worker_takes_turns_and_tells_its_memory(start):
    process = start(SPEAKS, what="it does")
    told = process.timing.facts
    assert told["argv"] == [
        "--work",
        '{"what": "it does"}',
        "--device",
        "cpu",
        "--threads",
        "3",
        "--warmup",
        "2",
    ]
    assert told["threads"] == "3"
    turn = process.turn(0.5, 2)
    assert (turn.seconds, turn.steps, turn.rate) == (0.5, 2, 10.0)
    process.stop()
    assert process.timing.memory == {"peak_mib": 7.0}
    assert "libraries print" in process.log.read_text()


def test_a_worker_that_cannot_begin_says_why(start):
    with pytest.raises(WorkerError, match=r"ended with status 1: ModuleNotFoundError.*no_such_code"):
        start("import no_such_code")


def test_a_worker_that_dies_in_its_turn_says_why(start):
    process = start(SPEAKS)
    with pytest.raises(WorkerError, match="no thirteen steps"):
        process.turn(0.5, 13)
    with pytest.raises(WorkerError, match="no thirteen steps"):
        process.turn(0.5, 1)


def test_a_worker_of_another_code_does_not_see_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert "PYTHONPATH" not in environment(None, 1)
    assert environment(tmp_path, 1)["PYTHONPATH"] == str(tmp_path)
