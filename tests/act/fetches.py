"""Fetches as processes of their own, and what is written down of them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from reconciler import shelf
from reconciler.model.stored import Absent
from tests.hub_server import Hub

MIB = 2**20
GGUF = "hf:org/tiny-GGUF/tiny.gguf"


def order(source: str, root: Path, **more: object) -> bytes:
    said = {
        "source": source,
        "slot": "chat/0",
        "root": str(root),
        "limit": None,
        "token": None,
        "patience": 5.0,
    }
    return json.dumps({**said, **more}).encode()


def begun(hub: Hub, source: str, root: Path, *, trusts: str = "", **more: object) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "HF_ENDPOINT": hub.base, "MODELSCOPE_ENDPOINT": hub.base, "SSL_CERT_FILE": trusts}
    process = subprocess.Popen([sys.executable, "-m", "reconciler.act.fetch"], stdin=subprocess.PIPE, env=environ)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(order(source, root, **more))
    return process


def fetch(hub: Hub, source: str, root: Path, *, trusts: str = "", **more: object):
    """Where it stands after one fetch."""
    assert begun(hub, source, root, trusts=trusts, **more).wait(60) == 0
    return look(source, root)


def look(source: str, root: Path):
    return shelf.look(shelf.place(str(root)), source, time.monotonic())


def failure(stored):
    assert isinstance(stored, Absent)
    assert stored.failure is not None
    return stored.failure
