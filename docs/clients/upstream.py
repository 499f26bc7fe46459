"""Every vendor in one scripted server, which also says when a client went away."""

import json
import select
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from wire import DIALECTS, FAILURES, TEXT, Asked, plan

PATIENCE = 20
# A program may need long to begin, on a busy machine.
BEGINNING = 110
LISTED = ["m", "refused", "slow-llm", "slow-openwebui"]


class Handler(BaseHTTPRequestHandler):
    """One request; the first word of its path is the provider."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/said":
            return self.json(200, self.server.said)
        if url.path in ("/gone", "/come"):
            return self.json(200, self.server.wait(url.path[1:], query["model"][0]))
        provider = url.path.split("/")[1]
        if not url.path.endswith("/models"):
            return self.json(404, {"error": {"message": "no such route"}})
        if provider == "anthropic":
            data = [{"type": "model", "id": name, "display_name": name,
                     "created_at": "2026-05-01T00:00:00Z"} for name in LISTED]
            page = {"data": data, "has_more": False, "first_id": LISTED[0], "last_id": LISTED[-1]}
        elif provider == "gemini":
            methods = ["generateContent", "countTokens"]
            page = {"models": [{
                "name": f"models/{name}", "displayName": name, "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536, "supportedGenerationMethods": methods} for name in LISTED]}
        else:
            page = {"object": "list", "data": [
                {"id": name, "object": "model", "created": 1790000000, "owned_by": provider}
                for name in LISTED]}
        self.json(200, page)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path, model = urlsplit(self.path).path, body.get("model", "")
        if self.server.real and path.startswith("/lab/") and path.endswith("/chat/completions"):
            return self.relay(body)
        asked = Asked()
        if ":" in path.rpartition("/")[2]:
            model, _, action = path.rpartition("/models/")[2].partition(":")
            dialect, asked.stream = "gemini", action.startswith("stream")
            if action == "countTokens":
                return self.json(200, {"totalTokens": 31})
        else:
            if path.endswith("/count_tokens") or path.endswith("/input_tokens"):
                return self.json(200, {"object": "response.input_tokens", "input_tokens": 31})
            names = {"completions": "chat", "responses": "responses", "messages": "messages"}
            dialect = names.get(path.rpartition("/")[2])
            asked.stream = bool(body.get("stream"))
        if dialect is None:
            return self.json(404, {"error": {"message": "no such route"}})
        read, write, whole, failures = DIALECTS[dialect]
        asked.model = model
        read(body, asked)
        decided = plan(asked)
        self.server.note(self.path, body, decided)
        if decided[0] in ("limited", "refused"):
            return self.json(*FAILURES[failures][decided[0]])
        if decided[0] == "slow":
            return self.hang(model, write if asked.stream else None)
        if asked.stream:
            self.begin()
            for event in write(model, decided):
                self.event(*event)
            return self.chunk(b"")
        self.json(200, whole(model, decided))

    def relay(self, body):
        """Lets the real server answer, in a few words, and keeps what it said."""
        body["max_tokens"] = 24
        asked = urllib.request.Request(f"{self.server.real}/chat/completions", json.dumps(body).encode(),
                                       {"content-type": "application/json"})
        self.server.said = ""
        with urllib.request.urlopen(asked, timeout=100) as answer:
            if not body.get("stream"):
                whole = json.load(answer)
                self.server.said = whole["choices"][0]["message"]["content"]
                return self.json(200, whole)
            self.begin()
            for line in answer:
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    self.server.said += "".join(one["delta"].get("content") or "" for one in choices)
                self.chunk(line)
        self.chunk(b"")

    def hang(self, model, write):
        """Begins an answer, and says nothing more until the client goes away."""
        if write:
            self.begin()
            for event in write(model, ("says", TEXT)):
                self.event(*event)
                if "red " in json.dumps(event):
                    break
        self.server.hanging(model, True)
        select.select([self.connection], [], [], PATIENCE)
        self.server.hanging(model, False)
        self.close_connection = True

    def begin(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, name, data):
        text = data if isinstance(data, str) else json.dumps(data)
        head = f"event: {name}\n" if name else ""
        self.chunk(f"{head}data: {text}\n\n".encode())

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def json(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Upstream(ThreadingHTTPServer):
    """All vendors, on a free port of this machine, until it is closed."""

    daemon_threads = True

    def __init__(self, log=None, real=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.changed, self.hangs, self.log = threading.Condition(), {}, log
        # A server of OpenAI's form that answers in the place of `lab`, and its last words.
        self.real, self.said = real, "".join(TEXT)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # A client that went away is what some of the probes are about.

    def note(self, path, body, decided):
        if self.log:
            with self.changed, open(self.log, "a") as file:
                file.write(json.dumps([path, body, decided]) + "\n")

    def hanging(self, model, begun):
        with self.changed:
            hang = self.hangs.setdefault(model, {"come": 0, "gone": 0})
            hang["come" if begun else "gone"] += 1
            hang["at"] = time.time()
            self.changed.notify_all()

    def wait(self, what, model):
        """Waits until a request for a slow model is held open, or none is any more."""
        def reached():
            hang = self.hangs.get(model)
            return hang and (hang["come"] > hang["gone"]) == (what == "come")

        with self.changed:
            done = self.changed.wait_for(reached, BEGINNING if what == "come" else PATIENCE - 5)
            return {"done": bool(done), "at": self.hangs.get(model, {}).get("at")}
