"""A stand-in for the Hugging Face Hub on this machine that data sets are fetched from."""

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.helpers.serving import running

COMMIT = "5" * 40


class HubFiles(ThreadingHTTPServer):
    """Data sets in memory: `files` by repository and path, `asked` the addresses that were asked for.

    `lfs` has what the listing says of large files, by path: sha256 and size.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.lfs, self.asked = {}, {}, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _send(self, status, content=b"", **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if about := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self._about(*about.groups())
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            content = self.server.files.get(found[1], {}).get(found[3])
            if content is not None:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                return self._send(200, content, ETag=etag, X_Repo_Commit=COMMIT)
        self._send(404, b"{}", X_Error_Code="EntryNotFound")

    def _about(self, repository, revision):
        if repository not in self.server.files:
            return self._send(404, b"{}", X_Error_Code="RepoNotFound")
        if revision not in (None, "main", COMMIT):
            return self._send(404, b"{}", X_Error_Code="RevisionNotFound")
        siblings = [
            {"rfilename": name, "size": len(content)}
            | ({"lfs": {**self.server.lfs[name], "pointerSize": 130}} if name in self.server.lfs else {})
            for name, content in self.server.files[repository].items()
        ]
        content = {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        content["cardData"] = {"license": "cc-by-4.0"}
        self._send(200, json.dumps(content).encode(), Content_Type="application/json")


def hub_files():
    """A running stand-in."""
    return running(HubFiles())
