"""`holdfast web`: the dashboard in browsers, by textual-serve. Who may: processes of this user, or who has the key."""

import argparse
import asyncio
import hashlib
import hmac
import ipaddress
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import textual_serve
from aiohttp import web as http
from multidict import CIMultiDict

from reconciler.cli import colours
from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.cli.web_pages import question, refusal, terminal
from reconciler.cli.web_session import MESSAGE, Session, side
from reconciler.model.errors import HoldfastError

_SHORTEST = 16
"""Characters of a key: fewer can be tried out."""
_STAYS = 12 * 3600.0
"""Seconds for which a browser is not asked for the key again."""
_DELAY = 0.5
"""Seconds that a wrong key costs."""
_STATIC = Path(textual_serve.__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
Handler = Callable[[http.Request], Awaitable[http.StreamResponse]]


def web(chosen: argparse.Namespace) -> int:
    """Serve until interrupted."""
    host, port = _address(chosen.listen)
    key = _key(chosen.key_file)
    if not key and not _loopback(host):
        raise HoldfastError(
            f"cannot listen at {chosen.listen} without a key: write one into a file (`openssl rand -hex 24`), "
            "and name it with --key-file"
        )
    names = frozenset({"localhost", socket.gethostname().lower(), *(name.lower() for name in chosen.names)})
    site = Site(
        argv=_dashboard(chosen),
        key=key,
        names=names,
        port=port,
        most=chosen.sessions,
        theme=lambda: colours.in_browser(chosen),
    )
    try:
        asyncio.run(_serve(site, host, port))
    except OSError as error:
        advice = "choose another address with --listen HOST:PORT"
        raise HoldfastError(f"cannot listen at {chosen.listen}: {_why(error)}; {advice}") from error
    return 0


def _why(error: OSError) -> str:
    """In lower case; what asyncio adds to it is left away."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _serve(site: "Site", host: str, port: int) -> None:
    over, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):  # who sees it listen may end it
        loop.add_signal_handler(number, over.set)
    runner = http.AppRunner(site.application(), access_log=None)
    await runner.setup()
    try:
        await http.TCPSite(runner, host, port, shutdown_timeout=5.0).start()
        shown = f"[{host}]" if ":" in host else host
        Screen().say(f"the dashboard is at http://{shown}:{port} (Ctrl-C ends it)")
        if site.key and not _loopback(host):
            warn("what is typed and shown there can be read on its way: put a proxy with TLS in front, or use ssh -L")
        await over.wait()
    finally:
        await runner.cleanup()


def _address(listen: str) -> tuple[str, int]:
    parts = urlsplit(f"//{listen}")
    try:
        if parts.hostname and parts.port and listen == parts.netloc and "@" not in listen:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise HoldfastError(f"cannot listen at {listen}; write HOST:PORT, as 127.0.0.1:8643 or [::1]:8643")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(file: str | None) -> str:
    if file is None:
        return ""
    with open(file, encoding="utf-8", errors="replace") as opened:
        key = opened.readline(4096).strip()
    if len(key) < _SHORTEST:
        raise HoldfastError(f"cannot use the key in {file}: it needs {_SHORTEST} characters or more")
    return key


def _dashboard(chosen: argparse.Namespace) -> list[str]:
    """What is run for each browser."""
    where = places(chosen)
    argv = [sys.executable, "-P", "-m", "reconciler.cli", "tui", "--socket", where.socket, "--state", where.state]
    argv += ["--fleet", where.fleet, "--interval", str(chosen.interval)]
    argv += ["--theme", chosen.theme] if chosen.theme else []
    return [*argv, *(word for host in chosen.hosts for word in ("--host", host))]


@dataclass(kw_only=True)
class Site:
    """What browsers see."""

    argv: Sequence[str]
    """The dashboard."""
    key: str
    """Empty: processes of this user may, and of root."""
    names: frozenset[str]
    """By which it is reached; an address is always good, as no page of others can have it for its name."""
    port: int
    most: int
    """Browsers at once."""
    theme: Callable[[], str] = lambda: "dark"
    """That of the next dashboard."""
    users: frozenset[int] = frozenset({0, os.getuid()})
    """Whose processes may, where there is no key."""
    _sessions: set[Session] = field(default_factory=set[Session])
    _known: dict[bytes, float] = field(default_factory=dict[bytes, float])
    """Until when a browser is known, by what its cookie comes to."""
    _trying: asyncio.Lock = field(default_factory=asyncio.Lock)

    def application(self) -> http.Application:
        """All of it."""
        app = http.Application(middlewares=[self._guard], client_max_size=8192)
        app.add_routes(
            [
                http.get("/", self._index),
                http.post("/key", self._enter),
                http.get("/ws", self._session),
                http.static("/static", _STATIC),
            ]
        )
        app.on_response_prepare.append(_harden)
        app.on_shutdown.append(self._end)
        return app

    # -- who may

    @http.middleware
    async def _guard(self, request: http.Request, handler: Handler) -> http.StreamResponse:
        if why := self._stranger(request):
            return _page(refusal(why, theme=self.theme()), HTTPStatus.FORBIDDEN)
        if self.key and request.path != "/key" and not self._is_known(request):
            return _page(question(wrong=False, theme=self.theme()), HTTPStatus.UNAUTHORIZED)
        return await handler(request)

    def _stranger(self, request: http.Request) -> str:
        """Why it is none of ours who asks; empty where it may be."""
        name = urlsplit(f"//{request.host}").hostname or ""
        if name not in self.names and not _is_address(name):
            return f"This is not {name[:100]}. If it should be: holdfast web --name {name[:100]}"
        origin = request.headers.get("Origin")
        if origin is None and request.path == "/ws":
            return "Only a page of ours may open this."
        if origin is not None and urlsplit(origin).netloc != request.host:
            return f"A page of {origin[:100]} may not ask this."
        if not self.key and _owner(request) not in self.users:
            return "This is another user's. With --key-file it would be open to whoever has the key."
        return ""

    def _is_known(self, request: http.Request) -> bool:
        token = request.cookies.get(self._cookie, "")
        return self._known.get(hashlib.sha256(token.encode()).digest(), 0.0) > time.monotonic()

    @property
    def _cookie(self) -> str:
        return f"holdfast-{self.port}"  # ports of a host share their cookies

    async def _enter(self, request: http.Request) -> http.StreamResponse:
        """Somebody types the key. Those who do so wrongly wait, one after the other."""
        given = (await request.post()).get("key", "")
        good = isinstance(given, str) and hmac.compare_digest(given.strip().encode(), self.key.encode())
        if not good or not self.key:
            async with self._trying:
                await asyncio.sleep(_DELAY)
            return _page(question(wrong=True, theme=self.theme()), HTTPStatus.UNAUTHORIZED)
        token, now = secrets.token_urlsafe(32), time.monotonic()
        self._known = {one: until for one, until in self._known.items() if until > now}
        self._known[hashlib.sha256(token.encode()).digest()] = now + _STAYS
        response = http.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": "/"})
        response.set_cookie(
            self._cookie,
            token,
            max_age=int(_STAYS),
            httponly=True,
            samesite="Strict",
            secure=request.headers.get("Origin", "").startswith("https:"),
        )
        return response

    # -- what they get

    async def _index(self, request: http.Request) -> http.StreamResponse:
        if len(self._sessions) >= self.most:
            return _page(refusal(self._full, theme=self.theme()), HTTPStatus.SERVICE_UNAVAILABLE)
        scheme = "wss" if request.headers.get("X-Forwarded-Proto") == "https" else "ws"
        size = max(6, min(72, side(request.query.get("fontsize"), 16)))
        return _page(terminal(f"{scheme}://{request.host}/ws", size=size, theme=self.theme()))

    @property
    def _full(self) -> str:
        return f"{self.most} browsers look at it already: close one, or holdfast web --sessions {self.most + 1}"

    async def _session(self, request: http.Request) -> http.StreamResponse:
        if len(self._sessions) >= self.most:
            return _page(refusal(self._full, theme=self.theme()), HTTPStatus.SERVICE_UNAVAILABLE)
        browser = http.WebSocketResponse(heartbeat=15, max_msg_size=MESSAGE)
        session = Session(self.argv, browser)
        self._sessions.add(session)
        try:
            await browser.prepare(request)
            await session.start(side(request.query.get("width"), 80), side(request.query.get("height"), 24))
            await session.follow()
        finally:
            await asyncio.shield(session.stop())
            self._sessions.discard(session)
        return browser

    async def _end(self, _: http.Application) -> None:
        await asyncio.gather(*(session.stop() for session in self._sessions))


async def _harden(_: http.Request, response: http.StreamResponse) -> None:
    headers: CIMultiDict[str] = response.headers
    headers.update(_HEADERS)
    if response.content_type == "text/html":
        headers["Cache-Control"] = "no-store"


def _page(text: str, status: HTTPStatus = HTTPStatus.OK) -> http.Response:
    return http.Response(text=text, status=status, content_type="text/html")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _owner(request: http.Request) -> int | None:
    """Whose process is at the other end of a connection on this machine, as the kernel says; None where it does not."""
    transport = request.transport
    if transport is None:
        return None
    theirs, ours = (_hexed(transport.get_extra_info(what)) for what in ("peername", "sockname"))
    table = "/proc/net/tcp6" if len(theirs) > 13 else "/proc/net/tcp"
    with open(table, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[1:3] == [theirs, ours]:
                return int(words[7])
    return None


def _hexed(address: Sequence[object]) -> str:
    """`0100007F:21C3`, as the kernel prints it: words of four bytes as this machine has them."""
    raw = ipaddress.ip_address(str(address[0])).packed
    words = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{int(str(address[1])):04X}"
