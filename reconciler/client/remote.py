"""Another machine's daemon and gateway, by one connection of the user's own ssh: no port is opened here or there.

`ssh` runs `holdfast where` there, and then waits: it ends as soon as we do, however we end.
"""

import contextlib
import json
import os
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Self
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.client.daemon import Client, connect
from reconciler.client.directory import Directory
from reconciler.client.gateway import Gateway, address, gateway
from reconciler.model.answers import Where
from reconciler.model.decode import decode
from reconciler.model.errors import ApiError
from reconciler.model.status import Status
from reconciler.ready import readable

_OPTIONS = {
    "BatchMode": "yes",  # it may not ask: the terminal is ours
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlMaster": "yes",
    "ControlPersist": "no",
    # what the user's configuration has for a shell is in the way of this
    "ClearAllForwardings": "yes",
    "EscapeChar": "none",
    "ForkAfterAuthentication": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "INFO",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "SessionType": "default",
    "StdinNull": "no",
}
_PATIENCE = 25.0
"""Seconds until the other machine has said where its daemon is."""
_PAUSES = (0.5, 30.0)
"""Seconds between attempts: the first, the longest."""
_STEADY = 30.0
"""A connection that lasted so many seconds was a good one."""
_MOST = 65536
_PATH = re.compile(r"/[\w./@+,=~-]+")
"""What ssh takes for a path and for nothing else."""


class Remote:
    """One machine. Used as a context: it ends with it. Its methods may be called from any thread."""

    def __init__(
        self,
        host: str,
        typed: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`host`: as one would write it after `ssh`; `typed`: options of holdfast there.

        HOLDFAST_SSH is another ssh, HOLDFAST_REMOTE another holdfast. Raises ApiError where `host` cannot be one.
        Nothing is connected before something is asked.
        """
        env = os.environ if env is None else env
        if not host or host.startswith("-") or not host.isprintable() or " " in host:
            raise ApiError(f"cannot use {host!r} as a machine; write it as after `ssh`: gpu2, or ada@gpu2")
        self.host = host
        self.where: Where | None = None
        """What it said of itself last."""
        self._ssh = shlex.split(env.get("HOLDFAST_SSH", "")) or ["ssh"]
        self._command = env.get("HOLDFAST_REMOTE", "").strip() or "holdfast"
        self._typed = shlex.join(typed)
        self._clock = clock
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Directory | None = None
        self._locals: dict[str, str] = {}
        self._trouble = ApiError(f"cannot reach {host}: not connected yet")
        self._pause = _PAUSES[0]
        self._since: float | None = None  # connected
        self._not_before = float("-inf")
        self._closed = False

    def __enter__(self) -> Self:
        """Nothing happens yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the connection, and leave nothing behind."""
        self.close()

    def close(self) -> None:
        """The same."""
        self._closed = True
        self._kill()
        with self._lock:
            self._kill()
            self.abandon()

    def abandon(self) -> None:
        """Remove what lies on the disk, waiting for nobody: we end at once, and the connection with us."""
        if self._directory is not None:
            self._directory.close()

    @property
    def client(self) -> Client:
        """Its daemon, as one of this machine is spoken to."""
        return _Daemon(self)

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self._process is not None and self._process.poll() is None

    def look(self) -> Where:
        """What it says of itself. Raises ApiError."""
        with self._lock:
            return self._there()

    def connected(self, target: str = "", *, timeout: float) -> socket.socket:
        """A connection to what listens there, `HOST:PORT` or a socket's path; to the daemon where none is named.

        Raises ApiError where the machine cannot be reached, OSError where nothing listens.
        """
        with self._lock:
            where = self._there()
            target = target or where.socket
            if target not in self._locals:
                self._locals[target] = self._forwarded(target)
            path = self._locals[target]
        return connect(path, timeout)

    def said(self) -> str:
        """What ssh has said since this was asked last."""
        with contextlib.suppress(OSError), open(f"{self._in}/said", "r+b") as said:
            words = said.read(_MOST).decode("utf-8", "replace")
            said.truncate(0)
            return words
        return ""

    # -- all of this under the lock

    def _there(self) -> Where:
        """The same, connected to."""
        if not self.up or self.where is None:
            self.where = self._again()
        return self.where

    def _again(self) -> Where:
        """Connect, unless it has just failed."""
        now = self._clock()
        if now < self._not_before:
            raise self._trouble
        if self._since is not None and now - self._since >= _STEADY:
            self._pause = _PAUSES[0]
        self._since = None
        self._not_before = now + self._pause
        self._pause = min(self._pause * 2, _PAUSES[1])
        try:
            found = self._connect()
        except ApiError as error:
            self._kill()
            self._trouble = error
            raise
        self._since = self._clock()
        return found

    def _connect(self) -> Where:
        if self._directory is None:
            self._directory = Directory(os.environ.get("XDG_RUNTIME_DIR", ""))
        for name in os.listdir(self._in):
            os.unlink(f"{self._in}/{name}")
        self._locals = {}
        # a shell that nobody logged into knows little of where programs are
        there = f'env PATH="$PATH:$HOME/.local/bin:/usr/local/bin" {self._command} where --json {self._typed}'
        options = [f"-o{name}={value}" for name, value in _OPTIONS.items()]
        control = f"-oControlPath={self._control}"
        argv = [*self._ssh, *options, control, "--", self.host, f"{there} && cat >/dev/null"]
        with open(f"{self._in}/said", "ab") as said:
            try:
                self._process = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
                )
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                raise ApiError(f"cannot run {self._ssh[0]}: {why}; install openssh-client") from error
        if self._closed:
            raise ApiError(f"cannot reach {self.host}: it was left")
        return self._heard(self._process)

    def _heard(self, process: "subprocess.Popen[bytes]") -> Where:
        """What it says of itself, in one line; a shell's greeting may stand before it."""
        out, raw, end = process.stdout, b"", time.monotonic() + _PATIENCE
        while out is not None and len(raw) < _MOST:
            for line in raw.split(b"\n")[:-1]:
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    return self._checked(decode(Where, json.loads(line)))
            piece = _read(out, end - time.monotonic())
            if piece is None:
                raise ApiError(f"cannot reach {self.host}: it has not answered within {_PATIENCE:g} s")
            if not piece:
                break
            raw += piece
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        raise ApiError(f"cannot reach {self.host}: {self._why(process.returncode)}")

    def _checked(self, where: Where) -> Where:
        if _PATH.fullmatch(where.socket) is None:
            raise ApiError(f"cannot use the daemon's socket on {self.host}: {where.socket} is no plain path")
        return where

    def _forwarded(self, target: str) -> str:
        """A socket of ours that leads to a target there."""
        path = f"{self._in}/{len(self._locals)}"
        words = ["-F/dev/null", f"-oControlPath={self._control}", "-Oforward", f"-L{path}:{target}", "--", "there"]
        try:
            done = subprocess.run(
                [*self._ssh, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10.0
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ApiError(f"cannot reach {self.host}: {error}") from error
        if done.returncode:
            said = _last(done.stderr.decode("utf-8", "replace"))
            raise ApiError(f"cannot reach {target} on {self.host}: {said}")
        return path

    @property
    def _control(self) -> str:
        return f"{self._in}/ssh"

    @property
    def _in(self) -> str:
        """Where its sockets are; nowhere before it was connected."""
        return self._directory.path if self._directory is not None else ""

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _why(self, status: int | None) -> str:
        """Why ssh ended, and what to do."""
        said = self.said()
        by_hand = f"run `{shlex.join([*self._ssh, self.host])}` once by hand"
        if status == 127:
            return (
                f"there is no `{self._command}`; install it there, or say where it is: HOLDFAST_REMOTE=/PATH/holdfast"
            )
        if status != 255:
            if "invalid choice: 'where'" in said:
                return f"holdfast there is of an older version than {__version__}, which is here"
            return f"`{self._command} where` failed there: {_last(said) or f'status {status}'}"
        if "Permission denied" in said:
            return f"it takes none of the keys at hand; {by_hand}, or `ssh-add` its key"
        if "IDENTIFICATION HAS CHANGED" in said:
            return f"it shows another host key than it did; if that is right, forget the old one: {by_hand}"
        if "Host key verification failed" in said:
            return f"its host key is not known here; {by_hand}"
        if "Could not resolve" in said:
            return "its name is not known here; write it as after `ssh`, or give it an address in ~/.ssh/config"
        return f"{_last(said) or 'ssh ended'}; {by_hand}"


class _Daemon(Client):
    """The daemon of another machine."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(f"{remote.host}:")
        self._remote = remote
        self._named = f"the daemon on {remote.host}"
        self._start = f"start it there with `holdfast up`, or `ssh {remote.host} holdfast up --detach`"

    def gateway(self, key_file: str | None = None, *, known: Status | None = None) -> Gateway:
        """Its gateway, by the same connection."""
        host = self._remote.host
        found = gateway(address(known or self.status(), host), key_file)
        at = urlsplit(found.url)
        name = f"[{at.hostname}]" if ":" in (at.hostname or "") else at.hostname
        target = f"{name}:{at.port or (443 if at.scheme == 'https' else 80)}"
        return found._replace(on=host, by=lambda: self._remote.connected(target, timeout=self._timeout))

    def _connected(self) -> socket.socket:
        return self._remote.connected(timeout=self._timeout)

    def _other_version(self) -> str:
        where = self._remote.where
        return f"it is {where.version if where else 'of another version'}, this is {__version__}: install the same"

    def _lost(self, error: Exception) -> ApiError:
        if not self._remote.up:
            return ApiError(f"lost {self._named}: the connection to {self._remote.host} broke off")
        if isinstance(error, ConnectionError):  # ssh took the connection, and nobody else did
            where = self._remote.where
            if "open failed" in self._remote.said():
                gone = super()._lost(ConnectionRefusedError())
                if where is None or where.away:
                    return gone
                return ApiError(f"{gone}; if it runs, sshd there must be allowed AllowStreamLocalForwarding")
        return super()._lost(error)


def _read(out: IO[bytes], within: float) -> bytes | None:
    """What comes next; None where nothing does in time."""
    number = out.fileno()
    return os.read(number, _MOST) if readable(number, within) else None


def _last(said: str) -> str:
    """The last line that means anything."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
