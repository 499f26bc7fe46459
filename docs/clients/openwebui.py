"""Open WebUI."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from agent import MARK, PICTURE, PROMPT, WEATHER, Agent


class OpenWebUi(Agent):
    """A server of its own; its own interface is asked, as its pages ask it."""

    name, folder, dialects = "Open WebUI", "openwebui", ["chat"]
    is_brief = True

    def begin(self):
        super().begin()
        data = self.stage.scratch / "openwebui"
        data.mkdir(exist_ok=True)
        self.env = {
            "DATA_DIR": str(data), "WEBUI_AUTH": "false", "WEBUI_SECRET_KEY": "matrix",
            "OPENAI_API_BASE_URL": f"{self.stage.url}/v1", "OPENAI_API_KEY": "any",
            "ENABLE_OLLAMA_API": "false", "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1",
            "RAG_EMBEDDING_ENGINE": "openai", "SCARF_NO_ANALYTICS": "true",
            "ANONYMIZED_TELEMETRY": "false", "ENABLE_VERSION_UPDATE_CHECK": "false",
            "ENABLE_TITLE_GENERATION": "false", "ENABLE_TAGS_GENERATION": "false"}
        self.url = "http://127.0.0.1:" + str(free_port())
        self.log = open(self.stage.scratch / "openwebui.log", "w")
        self.server = subprocess.Popen(
            [self.program("open-webui"), "serve", "--host", "127.0.0.1", "--port",
             self.url.rpartition(":")[2]], cwd=self.work, env=self.environment(),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True)
        self.token = None
        end = time.monotonic() + 300
        while self.token is None:
            try:
                self.token = json.load(self.ask("/api/v1/auths/signin", {"email": "", "password": ""}))["token"]
            except (OSError, ValueError):
                if self.server.poll() is not None or time.monotonic() > end:
                    log = (self.stage.scratch / "openwebui.log").read_text()
                    raise SystemExit(f"Open WebUI did not start: {log[-2000:]}")
                time.sleep(1)

    def end(self):
        os.killpg(self.server.pid, signal.SIGTERM)
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()
        self.log.close()

    def ask(self, path, body=None, timeout=60):
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = json.dumps(body).encode() if body is not None else None
        return urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=timeout)

    def chat(self, model, content=PROMPT, messages=None, **more):
        messages = messages or [{"role": "user", "content": content}]
        with self.failing():
            return json.load(self.ask("/api/chat/completions", {
                "model": model, "messages": messages, "stream": False, **more}))["choices"][0]["message"]

    def failing(self):
        return Told()

    def models(self, model, _):
        with self.failing():
            listed = [one["id"] for one in json.load(self.ask("/api/models"))["data"]]
        assert model in listed, listed

    def text(self, model, _):
        said = self.chat(model)["content"]
        assert said == self.stage.upstream.said, said

    def stream(self, model, _):
        with self.failing():
            answer = self.ask("/api/chat/completions", {
                "model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True})
            said = answer.read().decode()
        events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
        pieces = [one["delta"].get("content") for event in events for one in event.get("choices", [])]
        pieces = [piece for piece in pieces if piece]
        assert "".join(pieces) == self.stage.upstream.said and "[DONE]" in said, said[-800:]
        assert len(pieces) > 1, pieces

    def tools(self, model, _):
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
        asked = [{"role": "user", "content": "USE-TOOL now."}]
        called = self.chat(model, messages=asked, tools=tools)
        call = called["tool_calls"][0]
        assert json.loads(call["function"]["arguments"]) == {"city": "Riga"}, call
        asked += [called, {"role": "tool", "tool_call_id": call["id"], "content": MARK}]
        said = self.chat(model, messages=asked, tools=tools)["content"]
        assert "The tool said" in said and MARK in said, said

    def image(self, model, _):
        url = {"url": f"data:image/png;base64,{PICTURE}"}
        said = self.chat(model, [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": url}])
        assert "Saw image/png of 70 bytes." in said["content"], said

    def error(self, model, _):
        try:
            self.chat(self.refused(model))
        except AssertionError as error:
            assert "scripted refusal" in str(error), str(error)
        else:
            raise AssertionError("no failure came")

    def slow(self, provider, dialect):
        return "slow-openwebui"

    def cancel(self, model, _):
        with self.failing():
            answer = self.ask("/api/chat/completions", {
                "model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True})
            assert b"data:" in answer.readline()
        upstream, left = self.stage.upstream, time.time()
        answer.close()
        gone = upstream.wait("gone", model.partition("/")[2])
        assert gone["done"], "the upstream was never left"
        assert gone["at"] - left < 3, f"the upstream was left after {gone['at'] - left:.1f} s"


class Told:
    """Makes what a server refused part of what is told."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if isinstance(error, urllib.error.HTTPError):
            raise AssertionError(f"{error.code} {error.read().decode()[:800]}") from None
        if isinstance(error, (OSError, KeyError, ValueError)):
            raise AssertionError(f"{kind.__name__}: {error}") from None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
