"""A stand-in for the Hugging Face Hub on this machine: the few addresses that pushing a model calls."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.serving import running

TOKEN = "hf_of_a_test"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: `files` by repository and path, `private` by repository, `commits` in order.

    `refuse` maps an address, as a regular expression, to the status that it answers once.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.private, self.commits, self.objects = {}, {}, [], {}
        self.refuse, self.asked = {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_PUT(self):
        self.server.objects[self.path.rsplit("/", 1)[1]] = self._body()
        self._answer({})

    def do_POST(self):
        hub, body = self.server, self._body()
        hub.asked.append(self.path)
        for pattern in [pattern for pattern in hub.refuse if re.search(pattern, self.path)]:
            return self._answer({"error": "refused by the test"}, hub.refuse.pop(pattern))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer({"error": "Invalid user token."}, 401)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        repository, action = re.match(r"/(?:api/models/)?([^/]+/[^/.]+)(?:\.git)?/(\w+)", self.path).groups()
        return getattr(self, f"_{action}")(repository, body)

    def _create(self, asked):
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in hub_files(self):
            return self._answer({"error": "exists", "url": f"{self.server.address}/{name}"}, 409)
        # Releases of the library before 2 send the first, later ones the second.
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        hub_files(self)[name], self.server.private[name] = {}, private
        return self._answer({"url": f"{self.server.address}/{name}"})

    def _preupload(self, _, body):
        paths = [each["path"] for each in json.loads(body)["files"]]
        modes = [
            {"path": path, "uploadMode": "lfs" if path.endswith((".safetensors", ".onnx")) else "regular"}
            for path in paths
        ]
        self._answer({"files": [{**mode, "shouldIgnore": False, "oid": None} for mode in modes]})

    def _info(self, _, body):
        objects = []
        for each in json.loads(body)["objects"]:
            href = f"{self.server.address}/upload/{each['oid']}"
            there = each["oid"] in self.server.objects
            objects.append(each if there else {**each, "actions": {"upload": {"href": href}}})
        self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, repository, body):
        lines = [json.loads(line) for line in body.splitlines()]
        for line in lines[1:]:
            value = line["value"]
            content = (
                self.server.objects[value["oid"]]
                if line["key"] == "lfsFile"
                else base64.b64decode(value["content"])
            )
            hub_files(self)[repository][value["path"]] = content
        self.server.commits.append(lines[0]["value"]["summary"])
        oid = f"{len(self.server.commits):040x}"
        self._answer({"commitOid": oid, "commitUrl": f"{self.server.address}/{repository}/commit/{oid}"})


def hub_files(handler):
    return handler.server.files


def hub():
    """A running stand-in."""
    return running(Hub())
