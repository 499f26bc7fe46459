"""What clients that are programs have in common: how each try is run, and how its outcome is told."""

import base64
import os
import re
import signal
import subprocess
import time

import install

PROMPT = "Say the two words."
WORDS = "red green"
MARK = "marker-4711"
PICTURE = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
           "rkJggg==")
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPS = ["models", "text", "stream", "tools", "image", "error", "cancel"]


def interruptible():
    """A script that a shell runs in the background ignores the signal, and hands that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Na(Exception):
    """The client has no such thing, or none that can be used without a person."""


class Agent:
    """A program; a method for each try, of which one that is missing is not applicable."""

    name, folder, dialects = "", "", []
    # Why a try is not applicable.
    without = {}
    env = {}
    patience = 120
    # Whether what it sends is little enough for a small real model.
    is_brief = False

    def run(self, stage):
        self.stage = stage
        self.begin()
        try:
            for provider in stage.providers:
                for dialect in self.dialects:
                    for op in ("text", "stream") if stage.upstream.real else OPS:
                        self.try_one(provider, dialect, op)
        finally:
            self.end()

    def begin(self):
        self.work = self.stage.home / "work"
        self.work.mkdir(exist_ok=True)
        (self.work / "note.txt").write_text(MARK + "\n")
        (self.work / "picture.png").write_bytes(base64.b64decode(PICTURE))

    def end(self):
        pass

    def try_one(self, provider, dialect, op):
        status, note = "ok", ""
        try:
            work = getattr(self, op, None)
            if work is None:
                raise Na(self.without[op])
            word = self.slow(provider, dialect) if op == "cancel" else "m"
            work(f"{provider}/{word}", dialect)
        except Na as reason:
            status, note = "n/a", str(reason)
        except AssertionError as error:
            said = re.search(r"provider `\w+`: [^\"\\]+(?:belongs to|cannot|not supported)[^\"\\]*", str(error))
            status, note = ("refused", said[0]) if said else ("failed", str(error))
        except subprocess.TimeoutExpired:
            status, note = "failed", f"no end after {self.patience} s"
        self.stage.tell(self.name, self.folder, provider,
                        {"dialect": dialect, "op": op, "status": status, "note": note})

    def slow(self, provider, dialect):
        """Names a model of one try alone, so that the upstream knows whose connection ended."""
        return f"slow-{self.folder}-{dialect}-{provider}"

    def program(self, binary):
        return install.program(self.stage.cache, self.folder, binary)

    def environment(self):
        path = f"{install.program(self.stage.cache, self.folder, 'x').parent}:{self.stage.env['PATH']}"
        return self.stage.env | {"PATH": path} | self.env

    def start(self, command):
        return subprocess.Popen(
            [str(word) for word in command], cwd=self.work, env=self.environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=interruptible)

    def says(self, command, *expected, status=0):
        """Runs a command to its end; all that is expected must be in what it says."""
        process = self.start(command)
        try:
            said, _ = process.communicate(timeout=self.patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        # Some break lines to fit a screen that is not there.
        whole = " ".join(said.split())
        for text in expected:
            text = text.replace(WORDS, " ".join(self.stage.upstream.said.split()))
            assert text in said or text in whole, f"expected {text!r} in {said[-1500:]!r}"
        if status is not None:
            assert (process.returncode == 0) == (status == 0), f"status {process.returncode}"
        return said

    def leaves(self, command, model):
        """Interrupts a command once the upstream has its request; the upstream must be left."""
        process, slow = self.start(command), model.partition("/")[2]
        try:
            come = self.stage.upstream.wait("come", slow)["done"]
            assert come, "the upstream was never asked"
            left = time.time()
            os.killpg(process.pid, signal.SIGINT)
            gone = self.stage.upstream.wait("gone", slow)
            assert gone["done"], "the upstream was never left"
            took = gone["at"] - left
            assert took < 3, f"the upstream was left after {took:.1f} s"
        finally:
            # Its own session: what it started goes with it.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.communicate()

    def refused(self, model):
        return model.replace("/m", "/refused")
