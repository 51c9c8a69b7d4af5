"""Start-up shared by the commands that tests start: a process that has imported chemscale and forks.

``python -m chemscale.VERB`` spends five to ten seconds on importing torch and Lightning. Here one process
imports both, once. A stand-in for ``python`` and ``chemscale`` hands it arguments, working directory,
environment and open files, and ends as the forked process does, which runs ``main`` of the verb, a module of
chemscale, of the tests or of submitit, or a file of Python; ranks that it starts in turn are forked likewise.
Anything else goes to the real interpreter, and so does a process that would import another chemscale.
Signals are handed on, and a stand-in that is killed takes its process with it, a moment later: a test that
kills and at once looks at what is left starts ``sys.executable`` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.paths import ROOT

STAND_IN = """\
#!{python} -IS
import json, os, signal, socket, sys
name, given = os.path.basename(sys.argv[0]), sys.argv[1:]
arguments = given[given[:1] == ["-u"]:]
wanted = None
if name == "chemscale" and arguments and arguments[0] in {verbs}:
    wanted, arguments = "chemscale." + arguments[0], arguments[1:]
elif arguments[:1] == ["-m"] and (arguments[1] + ".").startswith(("chemscale.", "tests.", {rank})):
    wanted, arguments = arguments[1], arguments[2:]
elif arguments and arguments[0].endswith(".py") and os.path.exists(arguments[0]):
    wanted, arguments = arguments[0], arguments[1:]
paths = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
elsewhere = any(path != {root} for path in paths) or os.getcwd() != {root} and os.path.exists("chemscale")
if wanted is None or elsewhere or "PYTHONHASHSEED" in os.environ:
    real = [{python}] if name != "chemscale" else [{python}, "-m", "chemscale"]
    os.execv({python}, [*real, *given])
server = socket.socket(socket.AF_UNIX)
server.connect({socket})
asked = json.dumps([wanted, arguments, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
pid = int.from_bytes(server.recv(8), "big")
def hand_on(number, frame):
    os.kill(pid, number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, hand_on)
status = server.recv(8)
code = int.from_bytes(status, "big", signed=True) if status else 70
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class Preloaded:
    """The process, and the folder of stand-ins.

    Args:
        folder: for the socket and the stand-ins.
        python: the interpreter that they stand for.
    """

    def __init__(self, folder: Path, python: str = sys.executable):
        from chemscale.__main__ import VERBS

        self.bin, self.socket = folder / "bin", folder / "socket"
        self.bin.mkdir(parents=True)
        for name in ("python", "chemscale"):
            stand_in = self.bin / name
            quoted = STAND_IN.replace("#!{python}", f"#!{python}").replace("{python}", repr(python))
            quoted = quoted.replace("{verbs}", repr(tuple(VERBS))).replace("{root}", repr(str(ROOT)))
            quoted = quoted.replace("{rank}", repr("submitit.core._submit."))
            stand_in.write_text(quoted.replace("{socket}", repr(str(self.socket))))
            stand_in.chmod(0o755)
        self.process = subprocess.Popen(
            [python, "-m", "tests.helpers.preloaded", str(self.socket), str(self.bin / "python")],
            cwd=ROOT,
            start_new_session=True,
        )
        while not self.socket.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the preloaded process ended with {self.process.returncode}")
            time.sleep(0.05)

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """`base` with the stand-ins first."""
        path = f"{self.bin}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{base.get('PATH', '')}"
        return {**base, "PATH": path}

    def close(self) -> None:
        """End it and everything that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@functools.cache
def python() -> str:
    """A stand-in for ``sys.executable`` that starts commands of chemscale at once; made at its first use."""
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    server = Preloaded(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.close)
    return str(server.bin / "python")


def serve(path: str, python: str) -> None:
    """Import, then fork for every command that is asked for; `python` is what they start others by."""
    import chemscale

    for module in pkgutil.walk_packages(chemscale.__path__, "chemscale."):
        # Scripts of workers and recipes are run by interpreters of their own, with their folder on the path.
        scripts = any(f".{folder}." in module.name for folder in ("workers", "recipes"))
        if not module.name.endswith("__main__") and not scripts:
            # A plugin of another code may only be imported by that code: whoever wants it imports it.
            with contextlib.suppress(ImportError, AttributeError):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # a forked process that collects garbage would copy every page that was imported
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.part")
    listener.listen()
    os.rename(f"{path}.part", path)
    parent = os.getppid()
    while os.getppid() == parent:  # ends with the tests, however they end
        ready, _, _ = select.select([listener], [], [], 1.0)
        while ready_child():
            pass
        if not ready:
            continue
        client, _ = listener.accept()
        if os.fork() == 0:  # waits for the command and tells its status
            listener.close()
            wait_for(client, python)
        client.close()


def ready_child() -> bool:
    """Whether a forked process had ended, which is forgotten."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def wait_for(client: socket.socket, python: str) -> None:
    """Run what the client asks for in a process of its own; never returns."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(head, "big"):
        asked += client.recv(1 << 16)
    wanted, arguments, folder, environment = json.loads(asked)
    pid = os.fork()
    if pid == 0:
        client.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.executable = python
        sys.stdout.reconfigure(line_buffering=True)
        os._exit(run(wanted, arguments, folder))
    for file in files:
        os.close(file)
    client.sendall(pid.to_bytes(8, "big"))
    ended = os.pidfd_open(pid)
    if ended not in select.select([client, ended], [], [])[0]:
        os.kill(pid, signal.SIGKILL)  # the stand-in is gone
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        client.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
    os._exit(0)


def run(wanted: str, arguments: list[str], folder: str) -> int:
    """A module, or a file of Python, as the interpreter would run it; its exit status."""
    import traceback

    from chemscale.__main__ import VERBS

    sys.path.insert(0, os.path.dirname(os.path.abspath(wanted)) if wanted.endswith(".py") else folder)
    try:
        sys.argv = [wanted, *arguments]
        if wanted.endswith(".py"):
            runpy.run_path(wanted, run_name="__main__")
        elif wanted.removeprefix("chemscale.") in VERBS:
            module = importlib.import_module(wanted)
            sys.argv[0] = str(module.__file__)
            module.main()
        else:
            sys.modules.pop(wanted, None)
            runpy.run_module(wanted, run_name="__main__", alter_sys=True)
        status: object = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if isinstance(status, str):
        print(status, file=sys.stderr, flush=True)
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    serve(*sys.argv[1:])
