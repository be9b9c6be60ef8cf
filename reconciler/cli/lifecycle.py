"""Verbs of the daemon's life: run it, start it with its gateway and watch the fleet come up, stop it."""

import argparse
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

from reconciler.cli import dashboard, gateway
from reconciler.cli.child import Child
from reconciler.cli.places import Places, places
from reconciler.cli.screen import Screen, warn
from reconciler.cli.wait import hopeless, missing, polled, settled
from reconciler.client import Client
from reconciler.client.gateway import key_in
from reconciler.model.answers import Info
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.status import Status
from reconciler.ready import readable
from tui.view.clean import clean
from tui.view.status import status_text, transition

_STARTING = 30.0
"""Seconds that a daemon may take to answer at first."""
_ENDING = 10.0


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
            gateways=chosen.gateways,
        )
    )


def up(chosen: argparse.Namespace) -> int:
    """Start the daemon where none runs, and show how the fleet comes up."""
    key_in(chosen.key_file)  # what is wrong with it is said before anything is started
    where, screen = places(chosen, here=True), Screen()
    client = Client(where.socket)
    there = _running(client)
    daemon: Child | None = None
    level: str = getattr(chosen, "log_level", "info")
    if there is not None:
        _refuse_other(there, where)
        screen.say(f"the daemon (pid {there.pid}) is running already, for {there.root}")
        where = replace(where, state=there.state)
    else:
        daemon = Child("the daemon", _verb(chosen, where, level), os.path.join(where.state, "daemon.log"))
        screen.say(
            f"starting the daemon (pid {daemon.pid}) for {os.path.abspath(where.fleet)}; its log is {daemon.log}"
        )
    try:
        if daemon is not None:
            _await_answer(daemon, client)
        beside = gateway.begin(where, level)
        if beside is not None:
            screen.say(f"starting the gateway (pid {beside.pid}); its log is {beside.log}")
        if chosen.detach:
            return _detached(client, screen, chosen.wait, lambda: _address(beside, where))
        if chosen.plain or dashboard.unfit():
            if there is not None and not screen.terminal:
                screen.say("following it until interrupted; --detach ends once all is ready")
            _watch(client, screen)
        else:
            dashboard.show({"": client}, chosen)
            _leave(client, screen, daemon, where.state)
    except KeyboardInterrupt:
        screen.say("")
        _leave(client, screen, None if chosen.detach else daemon, where.state)
        return 130
    except ApiError:
        if daemon is not None and daemon.ended() is not None:
            raise HoldfastError(daemon.epitaph()) from None
        raise
    return 0


def _verb(chosen: argparse.Namespace, where: Places, level: str) -> list[str]:
    verb = ["run", "--fleet", where.fleet, "--state", where.state, "--socket", where.socket, "--log-level", level]
    return verb + (["--inventory", chosen.inventory] if chosen.inventory else [])


def _await_answer(daemon: Child, client: Client) -> None:
    """Wait until it listens. Raises HoldfastError where it ends before, or takes too long."""
    end = time.monotonic() + _STARTING
    while _running(client) is None:
        if daemon.ended() is not None:
            raise HoldfastError(daemon.epitaph())
        if time.monotonic() > end:
            raise HoldfastError(f"cannot reach the daemon within {_STARTING:g} s of its start; look at {daemon.log}")
        time.sleep(0.02)


def _address(beside: Child | None, where: Places) -> str | None:
    """Where the gateway listens; what stands in its way is told."""
    try:
        found = gateway.begun(beside, where.state)
    except HoldfastError as error:
        warn(f"the gateway: {error}")
        return None
    for problem in found.problems if found is not None else ():
        warn(f"the gateway: {clean(problem)}")
    return found.open[0] if found is not None and found.open else None


def down(chosen: argparse.Namespace) -> int:
    """Stop the daemon; with --engines the gateway and everything that runs, too."""
    where, screen = places(chosen), Screen()
    client = Client(where.socket)
    running = _running(client)
    if running is None and not chosen.engines:
        raise HoldfastError(f"cannot stop the daemon: nothing listens at {where.socket}; `holdfast up` would start one")
    state = running.state if running is not None else where.state
    if chosen.engines and (ended := gateway.end(state)) is not None:
        screen.say(f"the gateway (pid {ended}) has ended")
    if running is not None:
        left = _serving(client)
        _end(client, running)
        told = f"; {_going_on(left, state)}" if not chosen.engines else ""
        screen.say(f"the daemon (pid {running.pid}) has ended{told}")
    if chosen.engines:
        from reconciler.cli.engines import stop_all

        ended = stop_all(state)
        screen.say(f"stopped {', '.join(ended)}" if ended else "no engine was running")
    return 0


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


def _detached(client: Client, screen: Screen, wait: float, address: Callable[[], str | None]) -> int:
    """Wait until all that may run is ready; a line for each change."""
    seen: dict[str, str] = {}
    last: Status | None = None
    for last in polled(client, within=wait):
        _tell(last, seen, screen.say)
        if last.workloads or last.converged or last.problems:
            if all(map(settled, last.workloads.values())):
                _told_problems(last)
                screen.say(_next(last, address()))
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


def _going_on(left: list[str], state: str) -> str:
    """What outlives the daemon."""
    there = gateway.look(state)
    parts = [f"engines go on: {', '.join(left)}" if left else "no engine is running"]
    parts += [f"the gateway goes on (pid {there.pid})"] if there is not None else []
    return "; ".join(parts)


def _leave(client: Client, screen: Screen, daemon: Child | None, state: str) -> None:
    """Stop watching: the daemon ends, where we started it, and what it keeps goes on."""
    if daemon is None:
        screen.say("no longer watching; the daemon goes on")
        return
    if daemon.ended() is not None:
        raise HoldfastError(daemon.epitaph())
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        left = _serving(client)
        daemon.end()
    finally:
        signal.signal(signal.SIGINT, previous)
    screen.say(f"the daemon has ended; {_going_on(left, state)}")
    screen.say("`holdfast up` takes them up again, `holdfast down --engines` stops them")


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


def _next(status: Status, address: str | None) -> str:
    """What to type now, where clients find the gateway at `address`."""
    row = next((row for row in status.workloads.values() if row.endpoints and row.kind == "Model"), None)
    if row is None:
        return "all is as declared. Next: `holdfast tui`, `holdfast status`, `holdfast down`"
    client = f"; or point an OpenAI client at {address}/v1" if address is not None else ""
    return f"all is ready. Next: `holdfast tui`, `holdfast chat {row.name} hello`, `holdfast down`{client}"


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
        if not readable(process, _ENDING):
            raise HoldfastError(f"cannot end the daemon (pid {running.pid}) within {_ENDING:g} s; look at its log")
    except ProcessLookupError:
        return
    except PermissionError:
        raise HoldfastError(
            f"cannot end the daemon (pid {running.pid}): it belongs to another user; be that user"
        ) from None
    finally:
        os.close(process)
