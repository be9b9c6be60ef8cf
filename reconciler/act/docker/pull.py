"""Fetches an image, and says how far it is. As long as something comes it may take its time."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from reconciler.act.docker.api import Info, RefusedError

_COMPLETE = frozenset({"Pull complete", "Already exists", "Download complete"})


class Bytes(NamedTuple):
    """How far it is."""

    done: int = 0
    total: int | None = None


class Progress:
    """How far a pull is: bytes of all layers that are known by now."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def take(self, line: Info) -> None:
        """Count one line of the engine's report. RefusedError where that is an error."""
        if line.get("error"):
            raise RefusedError(500, str(line["error"]))
        layer, detail = str(line.get("id")), cast("Info", line.get("progressDetail") or {})
        total = int(detail.get("total") or 0)
        if line.get("status") == "Downloading" and total > 0:
            self._layers[layer] = min(total, int(detail.get("current") or 0)), total
        elif line.get("status") in _COMPLETE and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = total, total

    @property
    def bytes(self) -> Bytes:
        """As far as is known."""
        if not self._layers:
            return Bytes()
        return Bytes(sum(done for done, _ in self._layers.values()), sum(total for _, total in self._layers.values()))


class Pull:
    """One pull. `tell` hears, in the thread of `run`, how far it is."""

    def __init__(self, image: str, tell: Callable[[Bytes], None], *, every: float = 0.5) -> None:
        self.ended = False
        self._image, self._tell, self._every = image, tell, every
        self._answer: Any = None

    def run(self, client: Any) -> None:
        """Fetch it; blocks. RefusedError: what the registry says. The client's timeout is that between two pieces."""
        progress, told, at = Progress(), Bytes(), 0.0
        with _begin(client, self._image) as self._answer:
            for line in self._answer.iter_lines():
                if self.ended:
                    return
                progress.take(json.loads(line))
                now, far = time.monotonic(), progress.bytes
                if far != told and now >= at + self._every:
                    at, told = now, far
                    self._tell(far)

    def end(self) -> None:
        """Have the engine fetch no more of it. Of any thread."""
        from docker.types import CancellableStream  # noqa: PLC0415  see `Api.connect`

        self.ended = True
        if self._answer is not None:
            with contextlib.suppress(AttributeError, OSError):  # it has ended already
                CancellableStream(iter(()), self._answer).close()


def _begin(client: Any, image: str) -> Any:
    """What `client.pull` asks, which waits without end for what comes, and cannot be ended."""
    from docker import auth  # noqa: PLC0415  see `Api.connect`
    from docker.errors import create_api_error_from_http_exception  # noqa: PLC0415
    from docker.utils import parse_repository_tag  # noqa: PLC0415
    from requests import HTTPError  # noqa: PLC0415

    sdk: Any = auth
    repository, tag = parse_repository_tag(image)
    registry, _ = sdk.resolve_repository_name(repository)
    login = sdk.get_config_header(client, registry)
    answer = client.post(
        f"{client.base_url}/v{client.api_version}/images/create",
        params={"fromImage": repository, "tag": tag or "latest"},
        headers={"X-Registry-Auth": login} if login else {},
        stream=True,
        timeout=client.timeout,
    )
    try:
        answer.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)
    return answer
