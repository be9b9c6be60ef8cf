"""Talks to a model at one of its endpoints, until there is a gateway. What a model says is cleaned for the terminal."""

import argparse
import contextlib
import http.client
import json
import sys
from collections.abc import Generator, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

from reconciler.cli.places import places
from reconciler.cli.screen import warn
from reconciler.client import Client
from reconciler.model.errors import HoldfastError
from reconciler.model.status import Endpoint, Status
from tui.view.clean import clean, line

_SILENCE = 300.0
"""Seconds that a model may be silent in the middle of an answer."""
_LINE = 1 << 20
Message = dict[str, str]


def chat(chosen: argparse.Namespace) -> int:
    """Ask once, with MESSAGE or stdin; on a terminal without MESSAGE, converse."""
    client = Client(places(chosen).socket)
    endpoint_of(client.status(), chosen.name)  # before anything is typed
    if not chosen.message and sys.stdin.isatty():
        return _converse(client, chosen.name)
    text = " ".join(chosen.message) or sys.stdin.read().strip()
    if not text:
        raise HoldfastError("cannot ask nothing; give a MESSAGE, or text on stdin")
    _answer(client, chosen.name, [{"role": "user", "content": text}])
    return 0


def endpoint_of(status: Status, name: str) -> Endpoint:
    """A ready endpoint that answers to a model name. Raises HoldfastError that says why there is none."""
    for row in status.workloads.values():
        for endpoint in row.endpoints:
            if row.kind == "Model" and name in endpoint.names:
                return endpoint
    row = status.workloads.get(name)
    if row is None:
        names = {name for row in status.workloads.values() for one in row.endpoints for name in one.names}
        known = f"choose from {', '.join(sorted(names))}" if names else "no model is ready, see `holdfast status`"
        raise HoldfastError(f"cannot chat with {name}: no model that is ready answers to that name; {known}")
    if row.kind == "Service":
        raise HoldfastError(f"cannot chat with {name}: it is a service; name a model")
    from tui.view.status import state, why

    told = line(why(row))
    raise HoldfastError(
        f"cannot chat with {name}: it is {state(row).word}" + (f" ({told})" if told else "") + "; see `holdfast status`"
    )


def _converse(client: Client, name: str) -> int:
    with contextlib.suppress(ImportError):
        import readline

        readline.set_auto_history(True)  # keys to edit and to recall a line
    print(f"talking to {name}; Ctrl-C ends an answer, Ctrl-D the conversation")
    said: list[Message] = []
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return 0
        if not text:
            continue
        said.append({"role": "user", "content": text})
        try:
            said.append({"role": "assistant", "content": _answer(client, name, said)})
        except KeyboardInterrupt:
            print()
            said.pop()
        except HoldfastError as error:
            warn(f"holdfast: {error}")
            said.pop()


def _answer(client: Client, name: str, said: list[Message]) -> str:
    """Print a model's answer as it comes; the whole of it. Raises HoldfastError where it breaks off."""
    parts: list[str] = []
    try:
        for part in stream(endpoint_of(client.status(), name), name, said):
            parts.append(part)
            sys.stdout.write(clean(part))
            sys.stdout.flush()
    finally:
        if parts:
            sys.stdout.write("\n")
            sys.stdout.flush()
    return "".join(parts)


def stream(endpoint: Endpoint, name: str, said: list[Message]) -> Iterator[str]:
    """The pieces of an answer, as the model gives them. Raises HoldfastError where it refuses, hangs or breaks off."""
    see = f"see `holdfast logs {endpoint.slot}`"
    try:
        with _asked(endpoint, name, said) as response:
            ended = False
            while raw := response.readline(_LINE):
                if not raw.startswith(b"data:"):
                    continue
                data = raw.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                piece, last = _piece(data, name)
                ended = ended or last
                if piece:
                    yield piece
            if not ended:
                raise HoldfastError(f"lost {endpoint.slot} in the middle of its answer; {see}")
    except (OSError, http.client.HTTPException) as error:
        why = (str(error) or type(error).__name__).lower()
        raise HoldfastError(f"cannot go on with {endpoint.slot} at {endpoint.address}: {why}; {see}") from error


@contextlib.contextmanager
def _asked(endpoint: Endpoint, name: str, said: list[Message]) -> Generator[http.client.HTTPResponse, None, None]:
    """The answer to a request, once it is accepted."""
    address = urlsplit(endpoint.address)
    # an engine knows its model and its adapters; an alias is ours, and is asked for by the model's own name
    for number, known in enumerate(names := list(dict.fromkeys((name, endpoint.names[0])))):
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_SILENCE)
        with contextlib.closing(connection):
            body = json.dumps({"model": known, "messages": said, "stream": True})
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status == 200:
                yield response
                return
            if response.status != 404 or number == len(names) - 1:
                raise HoldfastError(f"cannot chat with {name}: {_refusal(response)}")


def _piece(data: bytes, name: str) -> tuple[str, bool]:
    """The text of one event, and whether the model says that it is the last."""
    try:
        event: Any = json.loads(data)
    except ValueError:
        raise HoldfastError(f"cannot understand {name}: it sent an event that is no JSON") from None
    if not isinstance(event, dict):
        return "", False
    given = cast("dict[str, Any]", event)
    if "error" in given:
        raise HoldfastError(f"cannot go on with {name}: {_message(given['error'])}")
    try:
        choice = given["choices"][0]
        content = choice["delta"].get("content")
        return content if isinstance(content, str) else "", choice.get("finish_reason") is not None
    except (KeyError, IndexError, TypeError, AttributeError):
        return "", False


def _refusal(response: http.client.HTTPResponse) -> str:
    raw = response.read(65536)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return f"{_message(json.loads(raw)['error'])} (status {response.status})"
    return f"it answered with status {response.status}"


def _message(error: Any) -> str:
    text: Any = cast("dict[str, Any]", error).get("message") if isinstance(error, dict) else error
    return line(str(text))[:500]
