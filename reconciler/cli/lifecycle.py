"""Verbs of the daemon's life: run it, start it and watch the fleet come up, stop it."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from reconciler.cli.places import Places, places
from reconciler.cli.screen import Screen, warn
from reconciler.cli.wait import hopeless, missing, polled, settled
from reconciler.client import Client
from reconciler.model.answers import Info
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.status import Status
from tui.view.clean import clean
from tui.view.status import status_text, transition

_STARTING = 30.0
"""Seconds that a daemon may take to answer at first."""
_ENDING = 10.0
_LOG = 8 * 2**20


def run(chosen: argparse.Namespace) -> int:
    """The daemon, in this process."""
    from reconciler.daemon import Settings
    from reconciler.daemon import run as run_daemon

    where = places(chosen, here=True)
    return run_daemon(
        Settings(
            fleet=where.fleet,
            state=where.state,
            socket=where.socket,
            inventory=chosen.inventory,
            log_level=getattr(chosen, "log_level", "info"),
            group=chosen.group,
        )
    )


def up(chosen: argparse.Namespace) -> int:
    """Start the daemon where none runs, and show how the fleet comes up."""
    where, screen = places(chosen, here=True), Screen()
    client = Client(where.socket)
    there = _running(client)
    daemon: _Child | None = None
    if there is not None:
        _refuse_other(there, where)
        screen.say(f"the daemon (pid {there.pid}) is running already, for {there.root}")
    else:
        daemon = _Child(chosen, where)
        screen.say(
            f"starting the daemon (pid {daemon.pid}) for {os.path.abspath(where.fleet)}; its log is {daemon.log}"
        )
    try:
        if daemon is not None:
            daemon.await_answer(client)
        if chosen.detach:
            return _detached(client, screen, chosen.wait)
        _watch(client, screen)
    except KeyboardInterrupt:
        return _interrupted(client, screen, daemon, detach=chosen.detach)
    except ApiError:
        if daemon is not None and daemon.ended() is not None:
            raise HoldfastError(daemon.epitaph()) from None
        raise
    return 0


def down(chosen: argparse.Namespace) -> int:
    """Stop the daemon; with --engines everything that it runs, too."""
    where, screen = places(chosen), Screen()
    client = Client(where.socket)
    running = _running(client)
    if running is None and not chosen.engines:
        raise HoldfastError(f"cannot stop the daemon: nothing listens at {where.socket}; `holdfast up` would start one")
    if running is not None:
        left = _serving(client)
        _end(client, running)
        told = f"; engines go on: {', '.join(left)}" if left and not chosen.engines else ""
        screen.say(f"the daemon (pid {running.pid}) has ended{told}")
    if chosen.engines:
        from reconciler.cli.engines import stop_all

        state = running.state if running is not None else where.state
        ended = stop_all(state)
        screen.say(f"stopped {', '.join(ended)}" if ended else "no engine was running")
    return 0


class _Child:
    """A daemon that we started."""

    def __init__(self, chosen: argparse.Namespace, where: Places) -> None:
        os.makedirs(where.state, mode=0o700, exist_ok=True)
        self.log = os.path.join(where.state, "daemon.log")
        argv = [sys.executable, "-P", "-m", "reconciler.cli", "run", "--fleet", where.fleet, "--state", where.state]
        argv += ["--socket", where.socket, "--log-level", getattr(chosen, "log_level", "info")]
        argv += ["--inventory", chosen.inventory] if chosen.inventory else []
        with _open_log(self.log) as log:
            self._from = log.tell()
            # a session of its own: it must not end with our terminal, nor by a Ctrl-C that is meant for us
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._process.poll()

    def await_answer(self, client: Client) -> None:
        """Wait until it listens. Raises HoldfastError where it ends before, or takes too long."""
        end = time.monotonic() + _STARTING
        while _running(client) is None:
            if self.ended() is not None:
                raise HoldfastError(self.epitaph())
            if time.monotonic() > end:
                raise HoldfastError(f"cannot reach the daemon within {_STARTING:g} s of its start; look at {self.log}")
            time.sleep(0.02)

    def epitaph(self) -> str:
        """How it ended, in its own last words where it had some."""
        with open(self.log, "rb") as log:
            log.seek(self._from)
            last = clean(log.read(65536).decode(errors="replace")).strip().splitlines()
        word = last[-1] if last else ""
        if word.startswith("holdfast: "):
            return word.removeprefix("holdfast: ")
        return f"cannot keep the daemon running: it ended with status {self.ended()}; look at {self.log}: {word}"

    def end(self) -> None:
        """End it, and wait for that."""
        self._process.terminate()
        try:
            self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            raise HoldfastError(
                f"cannot end the daemon (pid {self.pid}) within {_ENDING:g} s; look at {self.log}"
            ) from None


def _open_log(path: str):
    """The daemon's log, begun anew where it has grown long; one before it is kept."""
    if os.path.exists(path) and os.path.getsize(path) > _LOG:
        os.replace(path, f"{path}.1")
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))


def _running(client: Client) -> Info | None:
    """The daemon that listens there, if one does. Raises ApiError where one does and cannot be spoken to."""
    try:
        return client.info()
    except ApiError as error:
        cause = error.__cause__
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return None
        raise


def _refuse_other(there: Info, where: Places) -> None:
    if os.path.realpath(there.root) != os.path.realpath(where.fleet):
        raise HoldfastError(
            f"cannot start a daemon for {os.path.abspath(where.fleet)}: one for {there.root} (pid {there.pid}) is at "
            f"work at {where.socket}; stop it with `holdfast down`, or give this one --state and --socket of its own"
        )


def _detached(client: Client, screen: Screen, wait: float) -> int:
    """Wait until all that may run is ready; a line for each change."""
    seen: dict[str, str] = {}
    last: Status | None = None
    for last in polled(client, within=wait):
        _tell(last, seen, screen.say)
        if last.workloads or last.converged or last.problems:
            if all(map(settled, last.workloads.values())):
                _told_problems(last)
                screen.say(_next(last))
                return 0
            if hopeless(last):
                break
    left = "; ".join(missing(last)) if last is not None else "it has not looked yet"
    raise HoldfastError(f"cannot bring everything up: {left}; the daemon goes on, see `holdfast status`")


def _watch(client: Client, screen: Screen) -> None:
    """Show the fleet until interrupted."""
    seen: dict[str, str] = {}
    for status in polled(client, every=0.5 if screen.terminal else 0.2):
        if screen.terminal:
            text = status_text(status, width=screen.width, colour=screen.colour)
            screen.draw(f"{text}\n\nCtrl-C ends the daemon and leaves the engines up")
        else:
            _tell(status, seen, screen.say)


def _interrupted(client: Client, screen: Screen, daemon: _Child | None, *, detach: bool) -> int:
    if daemon is None or detach:
        screen.say("\nno longer watching; the daemon goes on")
        return 130
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        left = _serving(client)
        daemon.end()
    finally:
        signal.signal(signal.SIGINT, previous)
    told = f"engines go on: {', '.join(left)}" if left else "no engine is running"
    screen.say(f"\nthe daemon has ended; {told}")
    if left:
        screen.say("`holdfast up` takes them up again, `holdfast down --engines` stops them")
    return 130


def _serving(client: Client) -> list[str]:
    """Instances that run, as `chat/0 (pid 4242)`."""
    try:
        status = client.status()
    except ApiError:
        return []
    replicas = (replica for row in status.workloads.values() for replica in row.replicas)
    return [f"{replica.slot} (pid {replica.pid})" for replica in replicas if replica.pid is not None]


def _tell(status: Status, seen: dict[str, str], say: Callable[[str], None]) -> None:
    """A line for every workload that does otherwise than it did."""
    for name, row in status.workloads.items():
        text = transition(row)
        if seen.get(name) != text:
            seen[name] = text
            say(text)
    for name in seen.keys() - status.workloads.keys():
        del seen[name]
        say(f"{name}: gone")


def _told_problems(status: Status) -> None:
    for problem in status.problems:
        warn(clean(str(problem)))


def _next(status: Status) -> str:
    """What to type now."""
    row = next((row for row in status.workloads.values() if row.endpoints and row.kind == "Model"), None)
    if row is None:
        return "all is as declared. Next: `holdfast status`, `holdfast events -f`, `holdfast down`"
    where = row.endpoints[0].address
    return (
        f"all is ready. Next: `holdfast chat {row.name} hello`, `holdfast status`, `holdfast down`; "
        f"or point an OpenAI client at {where}/v1"
    )


def _end(client: Client, running: Info) -> None:
    """SIGTERM to the process that the kernel says is behind the socket, and to no other; wait for its end."""
    try:
        process = os.pidfd_open(client.peer())
    except ProcessLookupError:
        return
    try:
        if client.peer() != running.pid:  # the descriptor is of the process that still answers
            raise HoldfastError("cannot tell which process the daemon is; it was just replaced, try again")
        signal.pidfd_send_signal(process, signal.SIGTERM)
        import select

        if not select.select([process], [], [], _ENDING)[0]:
            raise HoldfastError(f"cannot end the daemon (pid {running.pid}) within {_ENDING:g} s; look at its log")
    except ProcessLookupError:
        return
    except PermissionError:
        raise HoldfastError(
            f"cannot end the daemon (pid {running.pid}): it belongs to another user; be that user"
        ) from None
    finally:
        os.close(process)
