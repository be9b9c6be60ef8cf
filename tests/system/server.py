"""An engine for tests: `server.py PORT [MODE …]`. Answers 200 to any GET, and hangs for ever after SIGUSR1.

Modes: `sick` answers 503; `late:FILE` binds only once that file is there.
"""

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

modes = sys.argv[2:]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if "sick" in modes else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))
for mode in modes:
    if mode.startswith("late:"):
        while not os.path.exists(mode[5:]):
            time.sleep(0.02)
print(f"serving on {sys.argv[1]}", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
