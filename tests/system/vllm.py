#!/usr/bin/env python3
"""Stands in for vLLM: takes `serve …` as it does, and answers its API of LoRA adapters by what lies beside it.

`refuse-NAME` is an adapter it cannot load, `hold` has each load wait until it is gone, `asked` lists what it was asked.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

argv = sys.argv[1:]
here = os.path.dirname(os.path.abspath(sys.argv[0]))
modules = argv[argv.index("--lora-modules") + 1 : argv.index("--enable-lora")] if "--lora-modules" in argv else []
loaded = dict(text.split("=", 1) for text in modules)
served = argv[argv.index("--served-model-name") + 1]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        cards = [{"id": served}, *({"id": name, "root": path, "parent": served} for name, path in loaded.items())]
        self.say(200, {"data": cards})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/chat/completions":
            known = body["model"] in (argv[argv.index("--served-model-name") + 1], *loaded)
            self.say(200 if known else 404, {"model": body["model"]})
            return
        name = body["lora_name"]
        with open(f"{here}/asked", "a") as file:
            file.write(f"{self.path.rpartition('/')[2]} {name}\n")
        if self.path == "/v1/unload_lora_adapter":
            known = loaded.pop(name, None) is not None
            self.say(200 if known else 404, {"message": f"The lora adapter '{name}' cannot be found."})
        elif os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") != "True":
            self.say(404, {"detail": "Not Found"})
        elif os.path.exists(f"{here}/refuse-{name}"):
            self.say(400, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16."}})
        elif name in loaded:
            self.say(400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}})
        else:
            loaded[name] = body["lora_path"]
            while os.path.exists(f"{here}/hold"):
                time.sleep(0.02)
            self.say(200, {})

    def say(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


port = int(argv[argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
