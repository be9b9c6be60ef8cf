"""Has the system manager do what is ordered of our units, by `systemd-run`, `systemctl` and `journalctl`.

Only root may: it is called by the broker, or by a daemon that is root. What it is asked for is not trusted: it touches
no unit that is not of its own state directory, and makes every property itself. Standard library only.
"""

from __future__ import annotations

import contextlib
import grp
import os
import re
import select
import subprocess
import threading

from reconciler.act.units import unit
from reconciler.act.units.unit import OrderError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Any

DEADLINE = 10.0
"""Seconds for what the manager answers from its own memory."""
START = 60.0
"""Seconds for a start, until the engine was exec'd."""
MARGIN = 15.0
"""Seconds beyond the grace until what was killed must be gone."""
ORDERS = "/run/holdfast-units"
"""Where environments lie while a unit is started, for root alone."""
_SHOWN = (
    "Id,LoadState,ActiveState,SubState,Result,MainPID,ExecMainCode,ExecMainStatus,LogExtraFields,MemoryMax,"
    "ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic"
)
_FIELDS = f"MESSAGE,N_DROPPED,_LINE_BREAK,_SYSTEMD_UNIT,{unit.TOKEN}"
_DROPPED = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"
_CURSOR = re.compile(r"[A-Za-z0-9=;_-]{1,400}")
_NVIDIA = "/proc/driver/nvidia/gpus"
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}


class SilentError(Exception):
    """The manager does not answer, or not in words that can be understood."""


class RefusedError(Exception):
    """It is not done, for this reason."""


class Manager:
    """The system manager, for the units of one state directory."""

    def __init__(self, state: str, weights: str) -> None:
        """`weights`: the directory below which engines may read what was fetched for them."""
        self._state, self._weights = state, weights

    def do(self, packet: Mapping[str, Any]) -> list[dict[str, str]]:
        """Carry out one order; how the units are that it is about. SilentError, RefusedError or OrderError."""
        match packet.get("op"):
            case "states":
                return _states()
            case "list":
                return self._ours(unit.PATTERN)
            case "start":
                return self._start(unit.Order(packet))
            case "stop":
                return self._stop(unit.slot_of(packet), unit.token_of(packet), unit.grace_of(packet))
            case "clear":
                return self._clear(unit.slot_of(packet), unit.token_of(packet), home=packet.get("home") is True)
            case _:
                raise OrderError("cannot understand the order")

    def journal(self, packet: Mapping[str, Any], peer: socket.socket) -> None:
        """Write all that our units log to `peer`, from a cursor or a second of the clock on, until that is closed.

        Where it ends by itself, why stands at its end, see `unit.ending`. OrderError where it cannot begin. Whoever
        else writes our field into what he logs is in it too; but of which unit it is, he cannot choose.
        """
        cursor, since = packet.get("cursor"), packet.get("since")
        if isinstance(cursor, str) and _CURSOR.fullmatch(cursor):
            begin = f"--after-cursor={cursor}"
        elif isinstance(since, int | float):
            begin = f"--since=@{since:.6f}"
        else:
            raise OrderError("cannot understand where to begin")
        argv = ["journalctl", "--quiet", "--no-pager", "--follow", "--no-tail", "--output=export"]
        argv += [f"--output-fields={_FIELDS}", begin, f"{unit.STATE}={self._state}", "+", _DROPPED]
        try:
            follower = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=peer.fileno(), stderr=subprocess.PIPE, env=_ENV
            )
        except OSError as error:
            why = f"cannot run journalctl: {(error.strerror or str(error)).lower()}"
        else:
            why = _until_either_ends(follower, peer)
        if why:
            with contextlib.suppress(OSError):
                peer.sendall(unit.ending(why))

    def _start(self, order: unit.Order) -> list[dict[str, str]]:
        name = unit.name(order.slot)
        there = self._look(name)
        if there is not None:
            if there.get(unit.TOKEN) == order.token:
                return [there]  # asked again: a run is started at most once
            if there["ActiveState"] != "failed" and there["SubState"] != "exited":
                raise RefusedError(f"{name} still runs")
            self._remove(name)
        env_file = f"{ORDERS}/{name}.env"
        try:
            self._write(env_file, unit.environment(order))
            weights = unit.Weights(self._weights, closed(self._weights))
            devices = unit.devices(order.gpus, nvidia(), _groups())
            argv = unit.command(order, state=self._state, weights=weights, env_file=env_file, devices=devices)
            code, said = _run(argv, START)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(env_file)
        found = self._ours(name)
        if code and not found:  # else it was started, and how it failed can be seen
            raise RefusedError(said or f"systemd-run ended with status {code}")
        return found

    def _stop(self, slot: str, token: str, grace: float) -> list[dict[str, str]]:
        name = unit.name(slot)
        if not self._has(name, token):
            return []
        late = threading.Timer(grace, _run, [["systemctl", "kill", "--signal=KILL", name], DEADLINE])
        late.daemon = True
        late.start()  # the unit has a grace too, which may be another by now
        try:
            code, said = _run(["systemctl", "stop", name], grace + MARGIN)
        finally:
            late.cancel()
        if code:
            raise RefusedError(said)
        return self._ours(name)

    def _clear(self, slot: str, token: str, *, home: bool) -> list[dict[str, str]]:
        name = unit.name(slot)
        if self._has(name, token):
            self._remove(name)
        if home and self._look(name) is None:
            self._empty(slot, name)
        return self._ours(name)

    def _remove(self, name: str) -> None:
        """Nothing of one that ended is left, neither what its main process left behind nor how it ended."""
        _run(["systemctl", "stop", name], unit.LONGEST + MARGIN)
        _run(["systemctl", "reset-failed", name], DEADLINE)

    def _empty(self, slot: str, name: str) -> None:
        """Empty its home, as nobody but itself: what lies there is the engine's."""
        argv = ["systemd-run", "--quiet", "--no-ask-password", "--wait", "--collect", f"--unit={name}"]
        argv += [f"--slice={unit.SLICE}", "--property=DynamicUser=yes"]
        argv += [f"--property=CacheDirectory={unit.home(slot).removeprefix('/var/cache/')}"]
        _run([*argv, "/usr/bin/find", f"{unit.home(slot)}/", "-mindepth", "1", "-delete"], START)

    def _has(self, name: str, token: str) -> bool:
        there = self._look(name)
        return there is not None and there.get(unit.TOKEN) == token

    def _look(self, name: str) -> dict[str, str] | None:
        """One of ours, by name; None where there is none. RefusedError where it is somebody else's."""
        found = [each for each in self._show(name) if each.get("LoadState") != "not-found"]
        if not found:
            return None
        if found[0].get(unit.STATE) != self._state:
            raise RefusedError(f"{name} is somebody else's unit; rename that, or stop it and remove its file")
        return found[0]

    def _ours(self, pattern: str) -> list[dict[str, str]]:
        return [each for each in self._show(pattern) if each.get(unit.STATE) == self._state]

    def _show(self, pattern: str) -> list[dict[str, str]]:
        code, said = _run(["systemctl", "show", f"--property={_SHOWN}", "--", pattern], DEADLINE)
        if code:
            raise SilentError(said or f"systemctl ended with status {code}")
        found = unit.shown(said)
        if any(each.keys() < {"Id", "LoadState", "ActiveState", "SubState", "MainPID"} for each in found):
            raise SilentError("systemctl said something that cannot be understood")
        return found

    def _write(self, path: str, text: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(ORDERS, 0o700)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def _states() -> list[dict[str, str]]:
    """How every unit of a name like ours is, and no more: in a tenth of the time that it takes to show them."""
    argv = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager", "--", unit.PATTERN]
    code, said = _run(argv, DEADLINE)
    if code:
        raise SilentError(said or f"systemctl ended with status {code}")
    rows = [line.split() for line in said.splitlines()]
    return [{"Id": row[0], "ActiveState": row[2], "SubState": row[3]} for row in rows]


def _until_either_ends(follower: subprocess.Popen[bytes], peer: socket.socket) -> str:
    """How a follower ended, in its last words if it had some; empty where `peer` has hung up, and it was ended."""
    said = b""
    errors: Any = follower.stderr
    waiting = select.poll()
    waiting.register(peer, select.POLLIN)
    waiting.register(errors, select.POLLIN)
    try:
        with errors:
            while peer.fileno() not in dict(waiting.poll()):
                piece = os.read(errors.fileno(), 4096)
                if not piece:
                    status = follower.wait(DEADLINE)
                    last = said.decode(errors="replace").rstrip().split("\n")[-1]
                    return f"journalctl: {last[:200] or f'it ended with status {status}'}"
                said = (said + piece)[-4096:]
    finally:
        follower.kill()  # our own child, not reaped
        follower.wait()
    return ""


def closed(path: str) -> str | None:
    """The first directory on the way to a path that others may not pass through; None where there is none."""
    parts = path.split("/")
    for count in range(2, len(parts) + 1):
        above = "/".join(parts[:count])
        try:
            if not os.stat(above).st_mode & 0o001:
                return above
        except OSError:
            return None
    return None


def nvidia(directory: str = _NVIDIA) -> dict[str, int]:
    """UUID → minor number of every NVIDIA card, as its driver says."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for card in os.listdir(directory):
            with open(f"{directory}/{card}/information", encoding="ascii", errors="replace") as file:
                told = dict(line.split(":", 1) for line in file if ":" in line)
            if "GPU UUID" in told and told.get("Device Minor", "").strip().isdigit():
                found[told["GPU UUID"].strip()] = int(told["Device Minor"])
    return found


def _groups() -> list[str]:
    there = {group.gr_name for group in grp.getgrall()}
    return [name for name in ("video", "render") if name in there]


def _run(argv: list[str], within: float) -> tuple[int, str]:
    """How a command ended, and what it said: its errors, if it failed. SilentError where it does not end in time."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=_ENV, timeout=within, check=False
        )
    except subprocess.TimeoutExpired:
        raise SilentError(f"{argv[0]} has not ended in {within:.0f} s") from None
    except OSError as error:
        raise SilentError(f"cannot run {argv[0]}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise SilentError(f"{argv[0]} said what is no text") from None
    return done.returncode, " ".join(done.stderr.split()) if done.returncode else done.stdout
