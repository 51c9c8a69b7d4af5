"""Start-up shared by the commands that tests start: a process that has imported chemscale and forks.

``python -m chemscale.VERB`` spends six to ten seconds on importing torch and Lightning. Here one process
imports both, once. A stand-in for ``python`` and ``chemscale`` hands it arguments, working directory,
environment and open files, and ends with the status of the forked process, which runs ``main`` of the verb,
or a file of Python. Anything else goes to the real interpreter. SIGINT, SIGTERM and SIGUSR1 are handed on; a
test that kills with SIGKILL, or looks for a signal in a status, starts ``sys.executable`` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
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
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
verb = None
if name == "chemscale" and arguments and arguments[0] in {verbs}:
    verb, arguments = arguments[0], arguments[1:]
elif arguments[:1] == ["-m"] and arguments[1][:10] == "chemscale." and arguments[1][10:] in {verbs}:
    verb, arguments = arguments[1][10:], arguments[2:]
elif len(arguments) == 1 and arguments[0].endswith(".py") and os.path.exists(arguments[0]):
    verb, arguments = arguments[0], []
if verb is None:
    real = [{python}] if name != "chemscale" else [{python}, "-m", "chemscale"]
    os.execv({python}, [*real, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({socket})
asked = json.dumps([verb, arguments, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
pid = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
status = server.recv(8)
sys.exit(int.from_bytes(status, "big") if status else 70)
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
            quoted = quoted.replace("{verbs}", repr(tuple(VERBS)))
            stand_in.write_text(quoted.replace("{socket}", repr(str(self.socket))))
            stand_in.chmod(0o755)
        self.process = subprocess.Popen(
            [python, "-m", "tests.helpers.preloaded", str(self.socket)],
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


def serve(path: str) -> None:
    """Import, then fork for every command that is asked for."""
    import chemscale

    for module in pkgutil.walk_packages(chemscale.__path__, "chemscale."):
        # Scripts of workers and recipes are run by interpreters of their own, with their folder on the path.
        scripts = any(f".{folder}." in module.name for folder in ("workers", "recipes"))
        if not module.name.endswith("__main__") and not scripts:
            # A plugin of another code may only be imported by that code: whoever wants it imports it.
            with contextlib.suppress(ImportError, AttributeError):
                importlib.import_module(module.name)
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
            wait_for(client)
        client.close()


def ready_child() -> bool:
    """Whether a forked process had ended, which is forgotten."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def wait_for(client: socket.socket) -> None:
    """Run what the client asks for in a process of its own; never returns."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(head, "big"):
        asked += client.recv(1 << 16)
    verb, arguments, folder, environment = json.loads(asked)
    pid = os.fork()
    if pid == 0:
        client.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os._exit(run(verb, arguments, folder))
    client.sendall(pid.to_bytes(8, "big"))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    client.sendall((code if code >= 0 else 128 - code).to_bytes(8, "big"))
    os._exit(0)


def run(verb: str, arguments: list[str], folder: str) -> int:
    """The verb, or a file of Python, as the interpreter would run it; its exit status."""
    import traceback

    sys.path.insert(0, folder)
    try:
        if verb.endswith(".py"):
            sys.argv = [verb, *arguments]
            runpy.run_path(verb, run_name="__main__")
        else:
            module = importlib.import_module(f"chemscale.{verb}")
            sys.argv = [str(module.__file__), *arguments]
            module.main()
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
    serve(sys.argv[1])
