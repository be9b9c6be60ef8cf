"""A double of `ollama serve` for tests: its API as far as it is used, its store, and a runner of its own for each load.

Directory `SCRIPT` says how it behaves, by files that are there: `slow` has a load go on, `fails` holds what a load is
refused with, `crash` ends it all at the next load, `hang` leaves questions unanswered, `lingers` keeps a model listed
after it was let go, `deaf` and `clings` have server and runner take no SIGTERM. `asked` lists what it was asked.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SCRIPT, MODELS = Path(os.environ["SCRIPT"]), Path(os.environ["OLLAMA_MODELS"])
LIBRARY = "manifests/registry.ollama.ai/library"
RUNNER = "import signal, sys, time\nif sys.argv[1]: signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(3600)"
SIZE = 48 * 2**20
lock = threading.Lock()
runners = {}
"""By name: the process of each model that is loaded, or being loaded."""


def is_told(word):
    return (SCRIPT / word).exists()


def blobs(name):
    """The files of a model; nothing where there is none of that name."""
    name, _, tag = name.partition(":")
    try:
        said = json.loads((MODELS / LIBRARY / name / (tag or "latest")).read_bytes())
    except FileNotFoundError:
        return []
    return [MODELS / "blobs" / layer["digest"].replace(":", "-") for layer in said["layers"]]


class Answer(BaseHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002 - its name there
        """Nothing."""

    def do_GET(self):
        while is_told("hang"):
            time.sleep(0.01)
        for name, runner in list(runners.items()):
            if runner.poll() is not None:
                del runners[name]
        if self.path == "/api/version":
            self.say(200, {"version": "0.0.0"})
        elif self.path == "/api/ps":  # as versions until 2026 do it, also what is still being loaded
            self.say(200, {"models": [{"name": f"{name}:latest", "size": SIZE, "size_vram": SIZE} for name in runners]})
        else:
            self.say(404, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["model"]
        with open(SCRIPT / "asked", "a") as file:
            file.write(f"{os.getpid()} {self.path} {body.get('keep_alive', '-')}\n")
        if not blobs(name):
            self.say(404, {"error": f"model '{name}' not found"})
        elif self.path == "/api/generate" and not body.get("prompt") and body["keep_alive"] == "0s":
            threading.Thread(target=self.let_go, args=(name,)).start()
            self.say(200, {"done": True, "done_reason": "unload"})
        elif (why := self.load(name)) is not None:
            self.say(500, {"error": why})
        elif self.path == "/api/embed" and not body.get("input"):
            self.say(200, {"embeddings": []})
        elif self.path == "/v1/completions":
            self.say(200, {"choices": [{"text": "a"}]})
        else:
            self.say(404, {})

    def load(self, name):
        """Have it loaded; why not. It is no longer loaded once nobody waits for it."""
        with lock:
            if name in runners and runners[name].poll() is None:
                return None
            print("loading", *(path.stat().st_size for path in blobs(name)), flush=True)
            if is_told("crash"):
                os._exit(3)
            if is_told("fails"):
                return (SCRIPT / "fails").read_text()
            clings = "x" if is_told("clings") else ""
            runner = runners[name] = subprocess.Popen([sys.executable, "-I", "-S", "-c", RUNNER, clings])
            (SCRIPT / "runner").write_text(str(runner.pid))
            while is_told("slow"):
                time.sleep(0.01)
                if self.is_left():
                    self.end(name)
                    return "client connection closed before server finished loading"
            return None

    def is_left(self):
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        finally:
            self.connection.setblocking(True)

    def let_go(self, name):
        while is_told("lingers"):
            time.sleep(0.01)
        self.end(name)

    def end(self, name):
        if runner := runners.pop(name, None):
            runner.kill()
            runner.wait()

    def say(self, status, told):
        text = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    if is_told("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    host, _, port = os.environ["OLLAMA_HOST"].partition(":")
    ThreadingHTTPServer((host, int(port)), Answer).serve_forever()
