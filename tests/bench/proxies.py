"""What stands between the ends: our gateway, and its peers, each on one core with keep-alive to its upstreams."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ends import KEY, free, pinned
from tests.bench.living import ROOT
from tests.bench.peers import venv
from tests.eventually import eventually


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One that runs."""

    name: str
    port: int
    pid: int
    place: Path
    """What it wrote lies here."""


Words = Callable[[int, Sequence[int], Path], list[str] | None]
"""Its port, those of its upstreams, a directory of its own → its command; None where it cannot be had."""


def nginx(port: int, upstreams: Sequence[int], place: Path) -> list[str] | None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    servers = " ".join(f"server 127.0.0.1:{one} max_fails=1 fail_timeout=1s;" for one in upstreams)
    temporary = "".join(
        f"{part}_temp_path {place}/{part};" for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(f"""
        daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {place}/pid; error_log stderr error;
        events {{ worker_connections 19000; }}
        http {{
            access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {temporary}
            upstream engines {{ least_conn; {servers} keepalive 1024; keepalive_requests 1000000000; }}
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                location / {{
                    proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off; proxy_read_timeout 600s;
                    proxy_next_upstream error timeout non_idempotent;
                }}
            }}
        }}""")
    return [program, "-p", str(place), "-c", str(place / "nginx.conf")] if program else None


def haproxy(port: int, upstreams: Sequence[int], place: Path) -> list[str] | None:
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    servers = "\n".join(f"  server s{one} 127.0.0.1:{one} check inter 1s" for one in upstreams)
    (place / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 1s
  timeout client 600s
  timeout server 600s
  http-reuse always
  retries 3
  option redispatch 1
  retry-on all-retryable-errors
frontend front
  bind 127.0.0.1:{port}
  default_backend engines
backend engines
  balance leastconn
{servers}
""")
    return [program, "-db", "-f", str(place / "haproxy.cfg")] if program else None


def _router(binaries: Path | None, module: str, port: int, upstreams: Sequence[int]) -> list[str] | None:
    if binaries is None:
        return None
    more = ["--log-level", "error", "--prometheus-port", str(free(1)[0])]
    workers = [f"http://127.0.0.1:{one}" for one in upstreams]
    words = ["--host", "127.0.0.1", "--port", str(port), "--policy", "power_of_two", "--worker-urls", *workers]
    return [str(binaries / "python"), "-m", module, *words, *more]


def vllm_router(port: int, upstreams: Sequence[int], place: Path, *, install: bool = True) -> list[str] | None:
    found = venv("vllm-router", "vllm-router", install=install)
    return _router(found, "vllm_router.launch_router", port, upstreams)


def sglang_router(port: int, upstreams: Sequence[int], place: Path, *, install: bool = True) -> list[str] | None:
    found = venv("sglang-router", "sglang-router", install=install)
    return _router(found, "sglang_router.launch_router", port, upstreams)


def litellm(port: int, upstreams: Sequence[int], place: Path) -> list[str] | None:
    """Only where `BENCH_LITELLM` is set, or where it was installed before: it is half a gigabyte."""
    binaries = venv("litellm", "litellm[proxy]", install=bool(os.environ.get("BENCH_LITELLM")))
    if binaries is None:
        return None
    models = [
        {
            "model_name": "chat",
            "litellm_params": {"model": "openai/chat", "api_base": f"http://127.0.0.1:{one}/v1", "api_key": "none"},
        }
        for one in upstreams
    ]
    told = {"model_list": models, "router_settings": {"routing_strategy": "least-busy"},
            "general_settings": {"master_key": KEY}}  # fmt: skip
    (place / "litellm.yaml").write_text(json.dumps(told))
    words = [
        "--config",
        str(place / "litellm.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--telemetry",
        "False",
    ]
    return [str(binaries / "litellm"), *words]


def ours(port: int, upstreams: Sequence[int], place: Path) -> list[str] | None:
    """One worker with a key, limits of each kind, metrics and access log, by a table that no daemon keeps."""
    limits = dict.fromkeys(("requests_per_minute", "requests_per_day", "tokens_per_minute", "tokens_per_day"), 10**12)
    key = {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "expires": None}
    places = [
        {"slot": f"chat/{number}", "run": 1, "address": f"http://127.0.0.1:{one}", "names": ["chat"]}
        for number, one in enumerate(upstreams)
    ]
    model = {"name": "chat", "names": ["chat"], "engine": "vllm", "source": "hf:org/chat", "outlook": "ready",
             "places": places, "limits": {**limits, "concurrency": 10**6}}  # fmt: skip
    grant = {"name": "bench", "keys": [key], "limits": {**limits, "concurrency": 10**6}}
    front = {"listen": [f"http://127.0.0.1:{port}"], "workers": 1, "per_address": 16384}
    table = {"seq": 1, "epoch": "bench", "models": {"chat": model}, "grants": [grant], "front": front}
    (place / "gateway").mkdir()
    (place / "gateway" / "table.json").write_text(json.dumps(table))
    return [sys.executable, "-m", "reconciler.cli", "gateway", "--state", str(place)]


@contextlib.contextmanager
def proxy(name: str, words: Words, upstreams: Sequence[int], *, within: float = 90.0) -> Generator[Proxy | None]:
    """It runs on the second core until the block ends; None where it cannot be had, or does not start."""
    port = free(1)[0]
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as text:
        place = Path(text)
        place.chmod(0o755)  # nginx started as root works as somebody else
        command = words(port, upstreams, place)
        if command is None:
            yield None
            return
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [*pinned(1), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
            )
        try:
            eventually(lambda: process.poll() is not None or _answers(port), within=within, what=name)
            if process.poll() is None:
                yield Proxy(name=name, port=port, pid=process.pid, place=place)
            else:
                sys.stderr.write(f"{name} does not start: {(place / 'log').read_text(errors='replace')[-800:]}\n")
                yield None
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()


def _answers(port: int) -> bool:
    """Whether a request is answered with 200."""
    body = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.settimeout(5)
            sock.sendall(head.encode() + body)
            return sock.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
