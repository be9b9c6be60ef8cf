"""Reads and asks the daemon over its unix socket. The CLI, the dashboard and the router speak to it through this.

Cheap to import and to use: nothing but the standard library, until facts or plans are asked for.
"""

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote, urlencode

from reconciler.model.answers import Info, Told
from reconciler.model.decode import decode
from reconciler.model.errors import ApiError
from reconciler.model.status import Event, Status

if TYPE_CHECKING:
    from reconciler.model.facts import Facts, Road

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

    def info(self) -> Info:
        """The daemon itself."""
        return self._get(Info, "/info")

    def status(self) -> Status:
        """How the fleet did in the last pass."""
        return self._get(Status, "/status")

    def statuses(self, *, patience: float = 0.0) -> Stream[Status]:
        """The status now, and again whenever it changes. A daemon that went away is waited for `patience` seconds."""
        for line in self._lines("/status/stream", {}, patience):
            yield self._read(Status, line)

    def road(self) -> "Road":
        """What would be done now and after, pass by pass."""
        from reconciler.model.facts import Road  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Road, "/plan")

    def facts(self) -> "Facts":
        """What the planner was told in the last pass."""
        from reconciler.model.facts import Facts  # noqa: PLC0415  dear, and rarely wanted

        return self._get(Facts, "/facts")

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
            event = self._read(Event, line)
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
        with self._answer("GET", f"/workloads/{quote(name, safe='')}/logs", query, stream=True) as response:
            while piece := response.read1(65536):
                yield piece

    def restart(self, name: str, index: int | None = None) -> str:
        """Replace one instance, or all; what will happen, in a sentence. So do the next ones."""
        return self._tell(name, "restart", {"index": index})

    def stop(self, name: str) -> str:
        """Stop all of a workload until it is resumed."""
        return self._tell(name, "stop", {})

    def pause(self, name: str) -> str:
        """Do nothing to a workload until it is resumed."""
        return self._tell(name, "pause", {})

    def resume(self, name: str) -> str:
        """Undo `stop` and `pause`."""
        return self._tell(name, "resume", {})

    def scale(self, name: str, replicas: int | None) -> str:
        """Run so many instead of what its file says; None: what its file says."""
        return self._tell(name, "scale", {"replicas": replicas})

    def apply(self, *, prune: bool = False) -> str:
        """One pass now; `prune` consents to what is held."""
        with self._answer("POST", "/apply", {}, body={"prune": prune}) as response:
            return self._read(Told, response.read()).message

    def peer(self) -> int:
        """Process id of the daemon, as the kernel knows it."""
        with self._reached(), _connect(self.path, self._timeout) as connection:
            return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")

    def _tell(self, name: str, verb: str, body: Mapping[str, object]) -> str:
        path = f"/workloads/{quote(name, safe='')}/{verb}"
        with self._answer("POST", path, {}, body=body) as response:
            return self._read(Told, response.read()).message

    def _get(self, kind: type[T], path: str, query: Mapping[str, object] | None = None) -> T:
        with self._answer("GET", path, query or {}) as response:
            return self._read(kind, response.read())

    def _read(self, kind: type[T], raw: bytes) -> T:
        try:
            return decode(kind, json.loads(raw))
        except (ValueError, TypeError, KeyError) as error:
            raise ApiError(
                f"cannot understand the daemon at {self.path}: {error}; it is of another version, restart it"
            ) from error

    def _lines(self, path: str, query: Mapping[str, object], patience: float) -> Stream[bytes]:
        """Lines of a stream that never ends by itself. `query` is read again for each attempt."""
        pause, lost_at = _PAUSES[0], None
        while True:
            try:
                with self._answer("GET", path, query, stream=True) as response:
                    while line := response.readline():
                        pause, lost_at = _PAUSES[0], None
                        yield line
                raise ApiError(f"lost the daemon at {self.path}: it ended; start it with `holdfast up`")
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
    ) -> Generator[http.client.HTTPResponse, None, None]:
        given = urlencode({key: value for key, value in query.items() if value is not None})
        headers = {"Host": "localhost"} | ({"Content-Type": "application/json"} if body is not None else {})
        payload = json.dumps(body).encode() if body is not None else None
        connection = _Connection(self.path, self._timeout)
        with self._reached(), contextlib.closing(connection):
            connection.request(method, f"/v1{path}?{given}" if given else f"/v1{path}", payload, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise ApiError(_said(response), status=response.status)
            if stream and connection.sock is not None:
                connection.sock.settimeout(None)
            yield response

    @contextlib.contextmanager
    def _reached(self) -> Generator[None, None, None]:
        """Turn what a socket raises into an ApiError that says what to do."""
        start = "start it with `holdfast up`"
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise ApiError(f"cannot reach the daemon at {self.path}: nothing listens there; {start}") from error
        except PermissionError as error:
            raise ApiError(
                f"cannot reach the daemon at {self.path}: it belongs to another user; be that user, or name your own "
                "with --socket"
            ) from error
        except TimeoutError as error:
            raise ApiError(
                f"cannot reach the daemon at {self.path}: it did not answer within {self._timeout:g} s; look at its log"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise ApiError(f"lost the daemon at {self.path}: {why}; if it is gone, {start}") from error


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _said(response: http.client.HTTPResponse) -> str:
    raw = response.read(65536)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(raw)["error"])
    return f"the daemon answered {response.status} {response.reason}"


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = _connect(self._path, self.timeout)


def _connect(path: str, timeout: float | None) -> socket.socket:
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
