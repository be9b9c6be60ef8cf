"""A double of `vllm serve` for tests: its flags, and the paths that are there when it is told to sleep.

`--script DIRECTORY` names where it writes what it was asked, a line each in `asked`. Before it answers it looks there:
`errs` holds paths that are answered with 500, and while `slow` is there it goes on falling asleep.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

given = dict(zip(sys.argv, sys.argv[1:], strict=False))
directory = given["--script"]
can_sleep = "--enable-sleep-mode" in sys.argv and os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
state = {"asleep": False, "falling": False}


def path(name):
    return os.path.join(directory, name)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.errs():
            return
        if self.path == "/is_sleeping" and can_sleep:
            while state["falling"]:
                time.sleep(0.01)  # as the engine is busy with that
            self.say(200, {"is_sleeping": state["asleep"]})
        else:
            self.say(200 if self.path == "/health" else 404, {})

    def do_POST(self):
        if self.path == "/v1/chat/completions":
            self.rfile.read(int(self.headers["Content-Length"]))
            self.say(500 if state["asleep"] or state["falling"] else 200, {})
            return
        with open(path("asked"), "a") as file:
            file.write(f"{os.getpid()} {self.path}\n")
        if self.errs():
            return
        if self.path == "/sleep?level=1" and can_sleep:
            state["falling"] = True
            while os.path.exists(path("slow")):
                time.sleep(0.01)
            state.update(asleep=True, falling=False)
            self.say(200, {})
        elif self.path == "/wake_up" and can_sleep:
            state["asleep"] = False
            self.say(200, {})
        else:
            self.say(404, {})

    def errs(self):
        with open(path("errs")) as file:
            if self.path not in file.read().split():
                return False
        self.say(500, {"error": {"message": "CUDA error"}})
        return True

    def say(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((given["--host"], int(given["--port"])), Answer).serve_forever()
