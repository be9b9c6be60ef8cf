"""Calls of the container engine, each in a thread with a deadline. An answer that did not come says nothing.

Its address is that of every client of Docker: DOCKER_HOST, else /var/run/docker.sock. The SDK is imported by the first
call, in its thread: most daemons have no container to look after.
"""

import asyncio
import contextlib
import http.client
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar, cast

from reconciler.act.aside import aside

DEADLINE = 10.0
"""Seconds for what the engine answers from its own memory, or by a few system calls."""
_LATE = 1.0
_LATE_WORDS = "it has not answered in time"
T = TypeVar("T")
Info = Mapping[str, Any]


class Client(Protocol):
    """What is used of the SDK's `APIClient`. What it answers is as the engine wrote it."""

    timeout: float

    def ping(self) -> object: ...
    def info(self) -> Info: ...
    def containers(self, *, all: bool, filters: Mapping[str, Any]) -> list[Info]: ...  # noqa: A002
    def inspect_container(self, container: str) -> Info: ...
    def create_container_from_config(self, config: Info, name: str) -> Info: ...
    def start(self, container: str) -> None: ...
    def unpause(self, container: str) -> None: ...
    def stop(self, container: str, timeout: int) -> None: ...
    def wait(self, container: str, *, timeout: float, condition: str) -> Info: ...
    def update_container(self, container: str, *, restart_policy: Info) -> Info: ...
    def remove_container(self, container: str, *, v: bool, force: bool) -> None: ...
    def logs(
        self, container: str, *, stream: bool, follow: bool, timestamps: bool, since: float | None
    ) -> Iterable[bytes]: ...
    def events(self, *, filters: Mapping[str, Any], decode: bool) -> Iterable[Info]: ...
    def inspect_image(self, image: str) -> Info: ...
    def pull(self, repository: str, *, stream: bool, decode: bool) -> Iterable[Info]: ...
    def close(self) -> None: ...


class SilentError(Exception):
    """The engine could not be reached, or did not answer in time, or not to the end."""

    def __init__(self, message: str, advice: str = "see `systemctl status docker`") -> None:
        super().__init__(message)
        self.advice = advice
        """What to do about it."""


class RefusedError(Exception):
    """The engine said no, for a reason of its own, or what cannot be understood."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The engine's API. A client is used by one thread at a time."""

    def __init__(self) -> None:
        self._idle: list[Client] = []
        self._version: str | None = None
        self._generation = 0

    def renew(self) -> None:
        """From now on connect anew: an engine that is on its way out still serves the connections that it has."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    async def call(
        self, function: Callable[[Client], T], within: float | None = DEADLINE, *, silence: float = DEADLINE
    ) -> T:
        """What it answers; `within` None: as long as it is never silent for so long. SilentError or RefusedError."""
        try:
            async with asyncio.timeout(None if within is None else within + _LATE):
                return await aside(lambda: self._ask(function, within or silence), "docker")
        except TimeoutError:
            raise SilentError(_LATE_WORDS) from None

    def connect(self, within: float) -> Client:
        """A client of one's own. Blocks. SilentError."""
        host = os.environ.get("DOCKER_HOST", "")
        if host and not host.startswith(("unix://", "http+unix://")):
            why = "only an engine of this machine can use its ports, files and GPUs"
            raise SilentError(f"DOCKER_HOST is {host}; {why}", "name a unix:// socket")
        with translated():
            from docker import APIClient  # noqa: PLC0415  the SDK takes a tenth of a second and 10 MiB
            from docker.utils import kwargs_from_env  # noqa: PLC0415

            how: Any = {"version": self._version or "auto", "timeout": within, **kwargs_from_env()}
            made: Any = APIClient(**how)
            self._version = str(made.api_version)
            return cast("Client", made)

    def _ask(self, function: Callable[[Client], T], within: float) -> T:
        generation = self._generation
        client = self._idle.pop() if self._idle else self.connect(within)
        client.timeout = within
        try:
            with translated():
                found = function(client)
        except RefusedError:
            self._keep(client, generation)
            raise
        except SilentError:
            client.close()
            self._version = None  # another one may answer the next time
            raise
        self._keep(client, generation)
        return found

    def _keep(self, client: Client, generation: int) -> None:
        if generation == self._generation:
            self._idle.append(client)
        else:
            client.close()


def info() -> Info:
    """What the engine says of itself. Blocks. SilentError or RefusedError."""
    with translated():
        return Api().connect(DEADLINE).info()


@contextlib.contextmanager
def translated() -> Any:
    """Errors of the SDK and of what it stands on, as ours."""
    from docker.errors import APIError, DockerException  # noqa: PLC0415
    from requests.exceptions import ReadTimeout, RequestException  # noqa: PLC0415

    try:
        yield
    except APIError as error:
        told: Any = error
        status = 500 if told.response is None else int(told.response.status_code)
        said = _plain(str(told.explanation or told))
        if "no such container" in said.lower():
            status = 404  # Podman says 500 of one that goes in this moment
        raise RefusedError(status, said) from None
    except ReadTimeout:
        raise SilentError(_LATE_WORDS) from None
    except (RequestException, DockerException, OSError) as error:
        raise _silent(error) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RefusedError(0, f"what cannot be understood ({type(error).__name__})") from None


def _silent(error: BaseException) -> SilentError:
    """What the system said, beneath all that the libraries wrap it in."""
    waiting: list[Any] = [error]
    for _ in range(32):
        if not waiting:
            break
        found = waiting.pop(0)
        if isinstance(found, PermissionError):
            return SilentError("permission denied", "`usermod -aG docker USER`, then restart Holdfast")
        if isinstance(found, OSError) and found.strerror:
            return SilentError(str(found.strerror).lower())
        if isinstance(found, ConnectionError | http.client.IncompleteRead):
            return SilentError("it has closed the connection")
        if isinstance(found, TimeoutError) or type(found).__name__ == "ReadTimeoutError":
            return SilentError(_LATE_WORDS)
        if isinstance(found, BaseException):
            waiting += [*found.args, found.__cause__, found.__context__]
    return SilentError(_plain(str(error)) or type(error).__name__, "see DOCKER_HOST")


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:400]
