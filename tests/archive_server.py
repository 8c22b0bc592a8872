"""A web server on this machine that answers as the hosts of datasets do, and fails as they do."""

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Archive:
    """Serves ``files`` by their path, ``<host>/<path>``; ``faults`` of a path are used up one by one, before that.

    A fault is a status with a message, as ``(503, "")``, or ``("cut", bytes)``, ``("slow", seconds)``,
    ``("trickle", seconds)``, ``("redirect", path)``, ``("no if-range", 0)``. ``asked`` has the path, the Range and the
    status of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[tuple]] = defaultdict(list)
        self.asked: list[tuple[str, str, int]] = []
        self.agents: set[str] = set()
        archive = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                archive.answer(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path.lstrip("/"), request.headers.get("Range", "")
        agent = request.headers.get("User-Agent", "")
        self.agents.add(agent)
        fault = self.faults[path].pop(0) if self.faults[path] else ("none", 0)
        body, headers = self.files.get(path, b""), {}
        status = 200 if path in self.files else 404
        if "dataverse" in path and agent.startswith("python-requests"):
            status = 403
        elif fault[0] == "redirect":
            status, headers = 302, {"Location": f"{self.url}/{fault[1]}"}
        elif isinstance(fault[0], int):
            status = fault[0]
            body = json.dumps({"status": "ERROR", "message": fault[1]}).encode() if fault[1] else b""
            headers = {"Retry-After": "0"} if status == 503 else {}
        elif status == 200:
            tag = f'"{hashlib.md5(body).hexdigest()}"'
            headers = {"ETag": tag, "Accept-Ranges": "bytes"}
            whole = len(body)
            begun = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if begun >= whole:
                status, body = 416, b""
            elif begun and (request.headers.get("If-Range") == tag or fault[0] == "no if-range"):
                status, body = 206, body[begun:]
                headers["Content-Range"] = f"bytes {begun}-{whole - 1}/{whole}"
        if status in (403, 404):
            body = b""
        self.asked.append((path, wanted, status))
        if fault[0] == "slow":
            time.sleep(fault[1])
        try:
            request.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                request.send_header(name, value)
            request.end_headers()
            if fault[0] == "trickle":
                for start in range(0, len(body), 20_000):
                    request.wfile.write(body[start : start + 20_000])
                    time.sleep(fault[1])
            else:
                request.wfile.write(body[: fault[1]] if fault[0] == "cut" else body)
            if fault[0] == "cut":
                request.close_connection = True
        except OSError:  # the client has gone
            request.close_connection = True
