"""A stand-in for W&B's service on loopback: it answers what a client needs and keeps what was posted."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USER = {
    "id": "user",
    "entity": "team",
    "username": "someone",
    "email": "",
    "flags": "{}",
    "teams": {"edges": []},
}


class Service:
    """What came: runs by id with what they were upserted with, their streamed rows, and views by name."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.summaries: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.projects = {"chemscale"}
        self.saves = 0
        self.url = ""

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer; empty for what nobody here needs."""
        if operation == "Viewer":
            return {"viewer": USER}
        if operation == "UpsertBucket":
            return self._upsert(variables)
        if operation in ("RunResumeStatus", "ResumeStatus"):
            return {"model": self._resume(variables["name"])}
        if operation == "CreateRunFiles":
            files = [
                {"name": name, "uploadUrl": f"{self.url}/put/{name}", "uploadHeaders": []}
                for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        if operation == "View":
            return {"project": self._views(variables)}
        if operation == "UpsertView2":
            return self._save(variables)
        return {}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        seen = self.runs.setdefault(name, [])
        seen.append(variables)
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "team"}}
        bucket = {
            "id": f"id-{name}", "name": name, "displayName": variables.get("displayName") or name,
            "config": "{}", "sweepName": None, "historyLineCount": len(self.rows.get(name, [])),
            "project": project,
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": len(seen) == 1}}

    def _resume(self, name: str) -> dict[str, Any]:
        project = {"id": "p", "name": "chemscale", "entity": {"id": "e", "name": "team"}}
        rows = self.rows.get(name)
        if not rows:
            return {**project, "bucket": None}
        tail = json.dumps([json.dumps(rows[-1])])
        bucket = {
            "id": f"id-{name}", "name": name, "displayName": name, "summaryMetrics": "{}", "config": "{}",
            "historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0, "historyTail": tail,
            "eventsTail": "[]", "tags": [], "wandbConfig": "{}",
        }  # fmt: skip
        return {**project, "bucket": bucket}

    def _views(self, variables: dict[str, Any]) -> dict[str, Any] | None:
        if variables["projectName"] not in self.projects:
            return None
        view = self.views.get(variables["viewName"])
        return {"allViews": {"edges": [{"node": view}] if view else []}}

    def _save(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.saves += 1
        name = variables["name"]
        known = {view["id"]: key for key, view in self.views.items()}
        if variables.get("id"):
            name = known[variables["id"]]  # an unknown id is an error of the client's
        elif name in self.views:
            name = f"{name}-copy-{self.saves}"  # without its id, the service makes another view
        view = {
            "id": variables.get("id") or f"view-{self.saves}",
            "displayName": variables["displayName"],
            "spec": variables["spec"],
        }
        self.views[name] = view
        return {"upsertView": {"view": {"id": view["id"], "name": name}, "inserted": True}}

    def stream(self, run: str, files: dict[str, Any]) -> None:
        for name, chunk in files.items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self.rows.setdefault(run, []).extend(lines)
            elif name == "wandb-summary.json":
                self.summaries[run] = lines[-1]


@contextmanager
def serve() -> Iterator[Service]:
    """The service, while the block runs."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            return None

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _reply(self, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._reply({})

        def do_PUT(self) -> None:
            self._body()
            self._reply({})

        def do_POST(self) -> None:
            body = json.loads(self._body() or b"{}")
            if self.path.endswith("/file_stream"):
                service.stream(self.path.split("/")[-2], body.get("files") or {})
                self._reply({})
                return
            query = body.get("query", "")
            operation = body.get("operationName") or query.split("{")[0].split("(")[0].split()[-1]
            self._reply({"data": service.answer(operation, body.get("variables") or {})})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
