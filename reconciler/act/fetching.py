"""Has sources fetched: starts `fetch` processes that outlive us, and ends them by the lock that they hold.

Whoever fetches for an earlier life of the daemon is found by that lock too.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

from reconciler import shelf
from reconciler.model.errors import TransientError
from reconciler.model.plan import Cancel, Fetch
from reconciler.model.status import Reason
from reconciler.ready import readable

_PASSED = (
    "PATH",
    "HOME",
    "LANG",
    "HF_ENDPOINT",
    "MODELSCOPE_ENDPOINT",
    "OLLAMA_REGISTRY",
    "OLLAMA_MODELS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_TAKES = 10.0
"""Seconds that a start, and an end, may take."""


def fetch(action: Fetch, token: str | None) -> None:
    """Begin; returns when it is told how far it is, or has ended. Blocks. Raises TransientError."""
    path = shelf.directory(shelf.place(action.cache), action.source)
    order = {
        "source": action.source,
        "slot": action.slot,
        "root": action.cache,
        "limit": action.limit,
        "token": token,
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.act.fetch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise TransientError(Reason.FetchFailed, f"cannot start a fetch: {error.strerror}") from None
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:  # who ended before says why at its end
            process.stdin.write(json.dumps(order).encode())
    ended, said = threading.Event(), list[str]()
    threading.Thread(target=_wait, args=(process, ended, said), name="fetch", daemon=True).start()
    begun = shelf.monotonic()
    while not ended.wait(0.02) and not _is_told(path) and shelf.monotonic() < begun + _TAKES:
        pass
    if ended.is_set() and process.returncode:  # it could write down nothing, so there is nothing else to know it by
        raise TransientError(Reason.FetchFailed, _why(action.source, process.returncode, said))


def cancel(action: Cancel) -> None:
    """End whoever fetches it; what is here of it stays. Blocks."""
    path = shelf.directory(shelf.place(action.cache), action.source)
    pid = shelf.holder(path)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if shelf.holder(path) == pid:  # so the descriptor is of nobody else
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                readable(descriptor, _TAKES)
        finally:
            os.close(descriptor)


def _is_told(path: str) -> bool:
    try:
        return shelf.holder(path) is not None and shelf.progress(path) is not None
    except OSError:
        return False


def _wait(process: subprocess.Popen[bytes], ended: threading.Event, said: list[str]) -> None:
    """Until it has ended; its last words."""
    if process.stderr is not None:
        with process.stderr as lines:
            said += lines.read().decode(errors="replace").splitlines()[-1:]
    process.wait()
    ended.set()


def _why(source: str, status: int, said: list[str]) -> str:
    """Why it came to nothing: in its own words, else how its process ended and what that said last."""
    words = said[0] if said else ""
    if words.startswith("cannot fetch "):
        return words
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"cannot fetch {source}: its process {how}" + (f": {words}" if words else "")


def _environment() -> dict[str, str]:
    """What a fetch needs of ours, and no more."""
    names = {*_PASSED, *_CACHES, *_PROXIES, *(name.upper() for name in _PROXIES)}
    ours = {name: value for name, value in os.environ.items() if name in names}
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**ours, "PYTHONPATH": root}
