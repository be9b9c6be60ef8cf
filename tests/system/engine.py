#!/usr/bin/env python3
"""Stands in for SGLang, TGI and Triton, by the name it is started as: their flags, paths, answers and ways to fail.

What lies beside it has it behave otherwise: `loads` (nothing listens while it is there), `warms` (503 until it is
gone), `dies` (it exits while it loads), `deaf` (it and its workers stay on SIGTERM), `hangs` (paths that never
answer), `errs` (paths answered with 500), `refuses` (names of adapters that it cannot load). `asked` lists what was
posted, `workers` the pids of the workers that it forks, which live in sessions of their own.
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

argv = sys.argv[1:]
here, program = os.path.split(os.path.abspath(sys.argv[0]))


def there(name):
    return os.path.join(here, name)


def lines(name):
    try:
        with open(there(name)) as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def given(flag):
    return argv[argv.index(flag) + 1]


def note(text):
    with open(there("asked"), "a") as file:
        file.write(f"{text}\n")


def histogram(name, *durations):
    told = f'{name}_bucket{{le="+Inf"}} {len(durations)}\n'
    return f"{told}{name}_sum {sum(durations)}\n{name}_count {len(durations)}\n"


class Sglang:
    """Its scheduler dies of what it does not expect, and the server with it."""

    port = "--port"

    def __init__(self):
        paths = argv[argv.index("--lora-paths") + 1 : argv.index("--enable-lora")] if "--lora-paths" in argv else []
        self.adapters = dict(text.split("=", 1) for text in paths)
        self.version, self.paused, self.released = "default", False, False
        self.weights = True

    def get(self, path):
        if path == "/health":
            if os.environ.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION") != "false" and self.released:
                self.crash("a request while memory is released")
            return 200, ""
        if path == "/model_info":
            return 200, {"model_path": given("--model-path"), "weight_version": self.version}
        if path == "/v1/models":
            cards = [{"id": name, "root": root, "parent": "chat"} for name, root in self.adapters.items()]
            return 200, {"data": [{"id": given("--served-model-name")}, *cards]}
        if path == "/metrics" and "--enable-metrics" in argv:
            label = '{model_name="chat",tp_rank="0"}'
            told = f"sglang:num_running_reqs{label} 3\nsglang:num_queue_reqs{label} 1\nsglang:token_usage{label} 0.25\n"
            told += f"sglang:prompt_tokens_total{label} 900\nsglang:generation_tokens_total{label} 100\n"
            return 200, told + histogram("sglang:time_to_first_token_seconds", 0.2, 0.4)
        return 404, {"detail": "Not Found"}

    def post(self, path, body):
        if path == "/v1/completions":
            return (200, {"choices": []}) if self.weights and not self.paused else (500, {"error": "no weights"})
        if path == "/pause_generation":
            self.paused = True
        elif path == "/continue_generation":
            self.paused = False
        elif path == "/update_weight_version":
            self.version = body["new_version"]
        elif path == "/release_memory_occupation":
            if not self.paused or "--enable-memory-saver" not in argv:
                self.crash("release_memory_occupation should be called only when server is idle.")
            self.released = True
            self.weights = "--enable-weights-cpu-backup" in argv
        elif path == "/resume_memory_occupation":
            if not self.released:
                self.crash("KeyError: 'kv_cache'")
            self.released = False
        elif path in ("/load_lora_adapter", "/unload_lora_adapter"):
            return self.change(path, body)
        else:
            return 404, {"detail": "Not Found"}
        return 200, {}

    def change(self, path, body):
        name, why = body["lora_name"], None
        if "--enable-lora" not in argv:
            why = "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
        elif path == "/unload_lora_adapter":
            why = None if self.adapters.pop(name, None) else f"LoRA adapter with name {name} is not loaded."
        elif name in lines("refuses") or name in self.adapters:
            why = f"Failed to load LoRA adapter '{name}'"
        else:
            self.adapters[name] = body["lora_path"]
        told = {"success": why is None, "error_message": why, "loaded_adapters": self.adapters}
        return (200 if why is None else 400), told

    def crash(self, why):
        print(f"Scheduler hit an exception: {why}", flush=True)
        os._exit(1)


class Tgi:
    port = "--port"

    def get(self, path):
        if path == "/health":
            return 200, ""
        if path == "/info":
            return 200, {"model_id": given("--model-id"), "adapters": os.environ.get("LORA_ADAPTERS", "")}
        if path == "/metrics":
            told = "tgi_batch_current_size 2\ntgi_queue_size 0\n"
            told += histogram("tgi_request_input_length", 30, 70) + histogram("tgi_request_generated_tokens", 10, 20)
            told += histogram("tgi_request_mean_time_per_token_duration", 0.02)
            return 200, told + histogram("tgi_request_duration", 1.5)
        return 404, {"error": "Not Found"}

    def post(self, path, body):
        return (200, {"choices": []}) if path == "/v1/completions" else (404, {"error": "Not Found"})


class Triton:
    port = "--http-port"

    def get(self, path):
        name = next(text.removeprefix("--load-model=") for text in argv if text.startswith("--load-model="))
        if path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{name}/ready"):
            return 200, ""
        if path == f"/v2/models/{name}/stats":
            success = {"count": 4, "ns": 2_000_000_000}
            return 200, {"model_stats": [{"name": name, "version": "1", "inference_stats": {"success": success}}]}
        return 400, {"error": f"Request for unknown model: {path}"}

    def post(self, path, body):
        known = path.startswith("/v2/models/") and path.endswith("/generate")
        return (200, {"text_output": "b"}) if known and body.get("text_input") else (400, {"error": "unknown"})


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(lambda: engine.get(self.path))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note(f"{self.path} {json.dumps(body)}")
        self.answer(lambda: engine.post(self.path, body))

    def answer(self, say):
        while self.path in lines("hangs"):
            time.sleep(0.02)
        if os.path.exists(there("warms")):
            status, told = 503, {"error": "it warms up"}
        elif self.path in lines("errs"):
            status, told = 500, {"error": "CUDA error"}
        else:
            status, told = say()
        body = told.encode() if isinstance(told, str) else json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(told, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def fork_workers():
    """Two, each a leader of its own session, that hold on until they are told to end."""
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN if os.path.exists(there("deaf")) else signal.SIG_DFL)
            with open(there("workers"), "a") as file:
                file.write(f"{os.getpid()}\n")
            while True:
                signal.pause()
        workers.append(pid)


def end(*_):
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    os._exit(0)


workers = []
engine = {"sglang": Sglang, "text-generation-launcher": Tgi, "tritonserver": Triton}[program]()
signal.signal(signal.SIGTERM, signal.SIG_IGN if os.path.exists(there("deaf")) else end)
fork_workers()
print(f"{program} loads", flush=True)
if os.path.exists(there("dies")):
    print("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", flush=True)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    sys.exit(1)
while os.path.exists(there("loads")):
    time.sleep(0.02)
where = (
    argv[argv.index(engine.port) + 1]
    if engine.port in argv
    else next(text.partition("=")[2] for text in argv if text.startswith(f"{engine.port}="))
)
ThreadingHTTPServer(("127.0.0.1", int(where)), Answer).serve_forever()
