"""Serves the control API: turns the table of routes into HTTP, and refuses what is malformed, foreign or slow.

Nobody is known by an address or a header: the kernel says who is at the other end of the socket.
"""

import asyncio
import json
import logging
import os
import pwd
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

from aiohttp import web
from pydantic import ValidationError

from reconciler.api import openapi
from reconciler.api.control import Control
from reconciler.api.given import Given
from reconciler.api.routes import BODY, ROUTES, Route
from reconciler.api.sockets import Bound, bind, groups, peer, release
from reconciler.model.acts import Act
from reconciler.model.errors import ApiError
from reconciler.model.fields import NAME

HOSTS = frozenset({"localhost", "holdfast"})
CONNECTIONS = 64
DEADLINE = 10.0
"""Seconds for the head of a request, for its body, and for each piece of an answer to be taken."""
log = logging.getLogger(__name__)
_name = re.compile(NAME)


class Server:
    """The API on its socket, from `start` to `close`."""

    def __init__(
        self,
        control: Control,
        path: str,
        *,
        deadline: float = DEADLINE,
        connections: int = CONNECTIONS,
        group: int | None = None,
        routes: Sequence[Route[Any]] = ROUTES,
    ) -> None:
        """`group`: whose members may use it too, beside its owner and root; `routes`: for what."""
        self._path, self._connections, self._group = path, connections, group
        self._streams: set[asyncio.Task[Any]] = set()
        self._runner = web.AppRunner(
            application(control, deadline=deadline, streams=self._streams, group=group, routes=routes),
            access_log=None,
            shutdown_timeout=0.5,
            keepalive_timeout=deadline,  # from the opening of a connection too: the deadline of a request's head
            lingering_time=1.0,
            auto_decompress=False,
            handler_cancellation=True,
        )
        self._bound: Bound | None = None
        self._server: asyncio.Server | None = None
        self._opening = 0

    async def start(self) -> None:
        """Listen. Raises ApiError where another daemon does, OSError where no socket can be made."""
        await self._runner.setup()
        self._bound = bind(self._path, group=self._group)
        self._server = await asyncio.get_running_loop().create_unix_server(self._connect, sock=self._bound.socket)

    async def close(self) -> None:
        """Stop listening, end streams, give requests half a second to finish."""
        for stream in self._streams:
            stream.cancel()
        if self._bound:
            release(self._bound)
        if self._server:
            self._server.close()
        await self._runner.cleanup()

    def _connect(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) + self._opening >= self._connections:
            return _Refused()
        # many are accepted at a time, and the server counts one only when it is told of it, a turn of the loop later
        self._opening += 1
        asyncio.get_running_loop().call_soon(self._opened)
        return server()

    def _opened(self) -> None:
        self._opening -= 1


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        log.warning("refused a connection to the control socket: too many are open")
        transport.close()


def application(
    control: Control,
    *,
    deadline: float = DEADLINE,
    streams: set[asyncio.Task[Any]] | None = None,
    group: int | None = None,
    routes: Sequence[Route[Any]] = ROUTES,
) -> web.Application:
    """The API, or some of it, as an aiohttp application. Tasks that stream are in `streams` while they do."""
    running = streams if streams is not None else set[asyncio.Task[Any]]()

    @web.middleware
    async def answer(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        try:
            _guard(request, group)
            return await handler(request)
        except web.HTTPException as error:
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
            return _failure(error.status, _HTTP.get(error.status, error.reason.lower()), headers)
        except ApiError as error:
            return _failure(error.status or 409, str(error))
        except ConnectionError:
            raise
        except Exception:  # the shell's last wall: nothing of an error but its existence leaves the daemon
            log.exception("cannot answer %s %s", request.method, request.path)
            return _failure(500, "cannot answer: the daemon has a bug here; its log has the details")

    app = web.Application(middlewares=[answer], client_max_size=BODY)
    for route in routes:
        app.router.add_route(route.method, f"/v1{route.path}", _serve(control, route, deadline, running))
    described = openapi.text()

    async def describe(request: web.Request) -> web.Response:
        _given_query(request, {})
        return web.Response(text=described, content_type="application/json")

    app.router.add_route("GET", "/v1/openapi.json", describe)
    return app


_HTTP = {
    404: "no such path; GET /v1/openapi.json lists them",
    405: "this path does not take that method; see Allow",
}


def _failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, text=json.dumps({"error": message}), content_type="application/json", headers=headers
    )


def _guard(request: web.Request, group: int | None) -> None:
    """Refuse strangers, and browsers that were made to speak to us (DNS rebinding). Raises ApiError."""
    connection = request.get_extra_info("socket")
    if connection is not None and connection.family == socket.AF_UNIX:
        # asyncio's wrapper has getsockopt, as a socket does
        _, uid = peer(connection)
        if uid not in (0, os.geteuid()) and (group is None or group not in groups(connection)):
            others = "" if group is None else ", and members of its group"
            raise ApiError(f"this socket is for its owner and root{others}", status=403)
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or hosts[0].lower() not in HOSTS:
        raise ApiError("the Host header must be localhost or holdfast", status=403)
    if "Origin" in request.headers:
        raise ApiError("requests of web pages are refused; leave the Origin header out", status=403)


def _serve(
    control: Control, route: Route[Any], deadline: float, streams: set[asyncio.Task[Any]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "")
        if "{name}" in route.path and not _name.fullmatch(name):
            raise ApiError("no workload has such a name", status=404)
        given = await _given(request, route, deadline)
        does = _recorded(control, route, name, given, request) if route.verb else route.does(control, name, given)
        result = await does
        if isinstance(result, AsyncIterator):
            task = asyncio.current_task()
            streams.update((task,) if task else ())
            try:
                return await _stream(request, route.media, cast("AsyncIterator[bytes]", result), deadline)
            finally:
                streams.difference_update((task,))
        if route.answer is None:
            raise TypeError(f"{route.path} answers bytes, and must stream them")
        return web.Response(body=route.answer.dump_json(result), content_type="application/json")

    return serve


async def _recorded(control: Control, route: Route[Any], name: str, given: Given, request: web.Request) -> object:
    """Do what was ordered, between the two records of it."""
    pid, uid = peer(request.get_extra_info("socket"))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    arguments = given.model_dump(mode="json", exclude_defaults=True)
    act = Act(pid=pid, uid=uid, user=user, verb=route.verb, subject=name or "daemon", arguments=arguments)
    number, outcome = control.acts.asked(act), "it was cut off"
    try:
        told = await route.does(control, name, given)
        outcome = str(getattr(told, "message", told))
        return told
    except ApiError as error:
        outcome = f"refused: {error}"
        raise
    finally:
        control.acts.ended(act, number, outcome)


async def _given(request: web.Request, route: Route[Any], deadline: float) -> Given:
    """What the request gives, checked. Raises ApiError."""
    if route.method == "GET":
        if request.can_read_body:
            raise ApiError("a GET takes no body", status=400)
        return _validated(lambda: route.given.model_validate(_given_query(request, route.given.model_fields)))
    _given_query(request, {})
    try:
        async with asyncio.timeout(deadline):
            body = await request.clone(client_max_size=route.body).read()
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(f"the body is too large; send at most {route.body} bytes", status=413) from None
    except TimeoutError:
        raise ApiError(f"the body did not come within {deadline:g} s", status=408) from None
    if not body:
        body = b"{}"
    elif request.content_type != "application/json" or "Content-Encoding" in request.headers:
        raise ApiError("send the body as application/json, not compressed", status=415)
    return _validated(lambda: route.given.model_validate_json(body))


def _given_query(request: web.Request, known: dict[str, Any]) -> dict[str, str]:
    query: dict[str, str] = {}
    for key, value in request.query.items():
        if key not in known:
            choice = f"choose from {', '.join(known)}" if known else "this path takes none"
            raise ApiError(f"query: unknown key {key[:100]!r}; {choice}", status=400)
        if key in query:
            raise ApiError(f"query: {key} is given twice", status=400)
        query[key] = value
    return query


def _validated(parse: Callable[[], Given]) -> Given:
    try:
        return parse()
    except ValidationError as error:
        # of a place the key alone: beneath it stand the names of our own types
        texts = [
            ": ".join((*map(str, one["loc"][:1]), one["msg"].lower()))
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise ApiError("; ".join(texts), status=400) from None


async def _stream(
    request: web.Request, media: str, pieces: AsyncIterator[bytes], deadline: float
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": media, "Cache-Control": "no-store"})
    await response.prepare(request)
    try:
        async for piece in pieces:
            async with asyncio.timeout(deadline):  # for a reader that does not read
                await response.write(piece)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        _cut(request)
    except Exception:
        log.exception("cannot go on with %s", request.path)
        _cut(request)
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
    return response


def _cut(request: web.Request) -> None:
    """End an answer early, so that it does not look like one that is complete."""
    if request.transport is not None:
        request.transport.abort()
