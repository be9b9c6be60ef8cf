"""Reads and asks the daemon over its unix socket. The CLI, the dashboard and the router speak to it through this.

Cheap to import and to use: nothing but the standard library, until facts or plans are asked for.
"""

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote, urlencode

from reconciler.client.crowded import crowded
from reconciler.model.decode import Again, decode
from reconciler.model.errors import ApiError
from reconciler.model.live import Live
from reconciler.model.status import Event, Status

if TYPE_CHECKING:
    from reconciler.client.gateway import Gateway
    from reconciler.model.answers import About, Info, LogPage
    from reconciler.model.facts import Facts, Road
    from reconciler.model.metrics import ReplicaMetrics
    from reconciler.model.stored import Shelf

T = TypeVar("T")
Stream = Generator[T, None, None]
"""Ends when it is closed, or with an ApiError."""
_LONGEST = 107
_PAUSES = (0.05, 1.0)  # seconds between attempts to reach a daemon that went away: the first, the longest


class Client:
    """One daemon, by its socket. Every method raises ApiError, whose text says what to do."""

    def __init__(self, path: str, *, timeout: float = 10.0) -> None:
        """`timeout` is how many seconds an answer may take to begin; streams may be silent for ever."""
        self.path = path
        self._timeout = timeout
        self._named = f"the daemon at {path}"
        self._start = "start it with `holdfast up`"

    def info(self) -> "Info":
        """The daemon itself."""
        from reconciler.model.answers import Info  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Info, "/info")

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        return self._get(Status, "/status")

    def statuses(self, *, patience: float = 0.0) -> Stream[Status]:
        """The status now, and again whenever it changes. A daemon that went away is waited for `patience` seconds."""
        status = Again(Status)
        for line in self._lines("/status/stream", {}, patience):
            yield self._read(status.decode, line)

    def live(self, every: float = 1.0, *, patience: float = 0.0) -> Stream[Live]:
        """What sensors say and clients do, now and each `every` seconds (0.2–60) again."""
        live = Again(Live)
        for line in self._lines("/live/stream", {"every": every}, patience, silence=every + self._timeout):
            yield self._read(live.decode, line)

    def about(self, name: str) -> "About":
        """One workload: the files that declare it, what was started, how its runs ended."""
        from reconciler.model.answers import About  # noqa: PLC0415  dear, and rarely wanted

        return self._get(About, _of(name))

    def road(self) -> "Road":
        """What would be done now and after, pass by pass."""
        from reconciler.model.facts import Road  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Road, "/plan")

    def facts(self) -> "Facts":
        """What the planner was told in the last pass."""
        from reconciler.model.facts import Facts  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Facts, "/facts")

    def metrics(self, name: str | None = None) -> "tuple[ReplicaMetrics, ...]":
        """What engines measure of themselves, asked now: of one model, or of all that run."""
        from reconciler.model.metrics import ReplicaMetrics  # noqa: PLC0415  dear, and rarely wanted

        return self._get(tuple[ReplicaMetrics, ...], "/metrics", {"name": name})

    def events(
        self, since: int = 0, limit: int = 1000, subject: str | None = None, *, newest: bool = False
    ) -> list[Event]:
        """Events after number `since`, oldest first: the first `limit` of them, or the `newest`."""
        query = {"since": since, "limit": limit, "subject": subject, "newest": _truth(newest)}
        return list(self._get(tuple[Event, ...], "/events", query))

    def follow_events(self, since: int = 0, subject: str | None = None, *, patience: float = 0.0) -> Stream[Event]:
        """The same, and those to come. After an interruption it goes on where it was, for `patience` seconds."""
        query: dict[str, object] = {"since": since, "subject": subject}
        for line in self._lines("/events/stream", query, patience):
            event = self._read(partial(decode, Event), line)
            query["since"] = event.seq
            yield event

    def log(
        self,
        name: str,
        index: int = 0,
        run: int | Literal["first-failure"] | None = None,
        *,
        lines: int = 1000,
        follow: bool = False,
    ) -> Stream[bytes]:
        """The last lines of a run's log in pieces, as the engine wrote them: clean them before they are shown."""
        query = {"index": index, "run": run, "lines": lines, "follow": _truth(follow)}
        with self._answer("GET", f"{_of(name)}/logs", query, stream=True) as response:
            while piece := response.read1(65536):
                yield piece

    def log_page(
        self,
        name: str,
        index: int = 0,
        run: int | Literal["first-failure"] | None = None,
        *,
        at: int | None = None,
        back: bool = False,
        size: int = 65536,
        wait: int = 0,
    ) -> "LogPage":
        """At most `size` bytes of a run's log from address `at` on, or before it (`back`); without `at`, the last.

        `size` is at most 4 MiB, `wait` 5: seconds after which an empty page comes where the run may still write.
        """
        from reconciler.model.answers import LogPage  # noqa: PLC0415  dear, and rarely wanted

        query = {"index": index, "run": run, "at": at, "back": _truth(back), "size": size, "wait": wait}
        with self._answer("GET", f"{_of(name)}/logs/page", query) as response:
            where = response.readline()
            return self._read(partial(decode, LogPage), where, data=response.read())

    def restart(self, name: str, index: int | None = None) -> str:
        """Replace one instance, or all; what will happen, in a sentence. So do the next ones."""
        return self._tell(name, "restart", {"index": index})

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        return self._tell(name, "stop", {})

    def pause(self, name: str | None) -> str:
        """Do nothing to a workload, or to the whole fleet, until it is resumed."""
        return self._tell(name, "pause", {})

    def resume(self, name: str | None) -> str:
        """Undo `stop` and `pause` of a workload, or the pause of the whole fleet."""
        return self._tell(name, "resume", {})

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        return self._tell(name, "scale", {"replicas": replicas})

    def models(self) -> "Shelf":
        """The weights on this machine."""
        from reconciler.model.stored import Shelf  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Shelf, "/models")

    def prune(self, sources: Sequence[str]) -> str:
        """Delete the weights of these sources; what was done, in a sentence."""
        return self._tell(None, "models/prune", {"sources": list(sources)})

    def apply(self, *, prune: bool = False) -> str:
        """One pass now; `prune` consents to what is held."""
        return self._tell(None, "apply", {"prune": prune})

    def gateway(self, key_file: str | None = None, *, known: Status | None = None) -> "Gateway":
        """Where its models are reached, shown the key in a file, or HOLDFAST_KEY. `known`: what it said of itself last.

        Raises HoldfastError where there is none, or no such key.
        """
        from reconciler.client.gateway import address, gateway  # noqa: PLC0415  dear, and rarely wanted

        return gateway(address(known or self.status()), key_file)

    def peer(self) -> int:
        """Process id of the daemon, as the kernel knows it."""
        with self._reached(), self._connected() as connection:
            return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    def _tell(self, name: str | None, verb: str, body: Mapping[str, object]) -> str:
        from reconciler.model.answers import Told  # noqa: PLC0415  dear, and rarely wanted

        path = f"/{verb}" if name is None else f"{_of(name)}/{verb}"
        with self._answer("POST", path, {}, body=body) as response:
            return self._read(partial(decode, Told), response.read()).message

    def _get(self, kind: type[T], path: str, query: Mapping[str, object] | None = None) -> T:
        with self._answer("GET", path, query or {}) as response:
            return self._read(partial(decode, kind), response.read())

    def _read(self, decoder: Callable[[object], T], raw: bytes, **beside: bytes) -> T:
        """What JSON says, made by `decoder`; `beside`: fields that came in bytes of their own."""
        try:
            said = json.loads(raw)
            return decoder(said | beside if beside else said)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise ApiError(f"cannot understand {self._named}: {error}; {self._other_version()}") from error

    def _other_version(self) -> str:
        return "it is of another version, restart it"

    def _connected(self) -> socket.socket:
        """A new connection. Raises OSError, or ApiError with words of its own."""
        return connect(self.path, self._timeout)

    def _lines(
        self, path: str, query: Mapping[str, object], patience: float, *, silence: float | None = None
    ) -> Stream[bytes]:
        """Lines of a stream that never ends by itself. `query` is read again for each attempt.

        `silence`: seconds after which one that says nothing is lost; None: it may be silent for ever.
        """
        pause, lost_at = _PAUSES[0], None
        while True:
            try:
                with self._answer("GET", path, query, stream=True, silence=silence) as response:
                    while line := response.readline():
                        pause, lost_at = _PAUSES[0], None
                        yield line
                raise ApiError(f"lost {self._named}: it ended; {self._start}")
            except ApiError as error:
                lost_at = lost_at or time.monotonic()
                if error.status is not None or time.monotonic() + pause > lost_at + patience:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _PAUSES[1])

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        *,
        body: Mapping[str, object] | None = None,
        stream: bool = False,
        silence: float | None = None,
    ) -> Generator[http.client.HTTPResponse, None, None]:
        asked = {key: value for key, value in query.items() if value is not None}
        given = urlencode(asked, errors="replace")
        headers = {"Host": "localhost"} | ({"Content-Type": "application/json"} if body is not None else {})
        payload = json.dumps(body).encode() if body is not None else None
        connection = _Connection(self._connected)
        with self._reached(), contextlib.closing(connection):
            connection.request(method, f"/v1{path}?{given}" if given else f"/v1{path}", payload, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiError(_said(response), status=response.status)
            if stream and connection.sock is not None:
                connection.sock.settimeout(silence)
            yield response

    @contextlib.contextmanager
    def _reached(self) -> Generator[None, None, None]:
        """Turn what a socket raises into an ApiError that says what to do."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ApiError:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return ApiError(f"cannot reach {self._named}: nothing listens there; {self._start}")
        if isinstance(error, PermissionError):
            advice = "be that user, or name your own with --socket"
            return ApiError(f"cannot reach {self._named}: it belongs to another user; {advice}")
        if why := crowded(error):
            return ApiError(f"cannot ask {self._named}: {why}")
        if isinstance(error, TimeoutError):
            late = f"it did not answer within {self._timeout:g} s; look at its log"
            return ApiError(f"cannot reach {self._named}: {late}")
        return ApiError(f"lost {self._named}: {str(error) or type(error).__name__}; if it is gone, {self._start}")


def _of(name: str) -> str:
    """Where a workload is; what no name can be is none that there is."""
    return f"/workloads/{quote(name, safe='', errors='replace')}"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _said(response: http.client.HTTPResponse) -> str:
    raw = response.read(65536)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(raw)["error"])
    return f"the daemon answered {response.status} {response.reason}"


class _Connection(http.client.HTTPConnection):
    """HTTP over a connection that somebody else makes."""

    def __init__(self, connected: Callable[[], socket.socket]) -> None:
        super().__init__("localhost")
        self._connected = connected

    def connect(self) -> None:
        self.sock = self._connected()


def connect(path: str, timeout: float | None) -> socket.socket:
    """A connection to a unix socket, however long its path. `timeout`: seconds; 0: never blocks. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    descriptor = None
    try:
        if len(os.fsencode(path)) > _LONGEST:  # too long for an address: go by the directory's descriptor
            directory, name = os.path.split(os.path.abspath(path))
            descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = f"/proc/self/fd/{descriptor}/{name}"
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return connection
