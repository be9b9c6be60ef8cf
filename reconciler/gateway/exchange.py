"""One request's life: admitted, sent to an instance, tried elsewhere while nothing was passed on, and answered.

Called back by its connection, by its upstream and by the clock; none of them is waited for, and no task is made for it.
"""

import asyncio
from typing import TYPE_CHECKING

from reconciler.gateway.asked import asked, renamed
from reconciler.gateway.body import Body, Edited
from reconciler.gateway.errand import Errand
from reconciler.gateway.paths import Operation
from reconciler.gateway.places import Live
from reconciler.gateway.refusal import Refusal, unknown_model
from reconciler.gateway.upstream import Upstream, connect

if TYPE_CHECKING:
    from reconciler.gateway.core import Core
    from reconciler.gateway.server import Connection

SMALL = 64 * 1024
"""Bytes of a body that is sent in one piece with its head."""
_UNAVAILABLE = frozenset({502, 503, 504})


class Exchange(Errand):
    """A request, from its head on."""

    __slots__ = ("_stale", "connecting", "edited", "forwarded", "live", "media", "query", "refusal", "upstream")

    def __init__(self, core: "Core", connection: "Connection", operation: Operation, now: float) -> None:
        Errand.__init__(self, core, connection, operation, now)
        self.query = self.media = b""
        """Of what the client sends: behind its path, and the content type."""
        self.refusal: Refusal | None = None
        """Why it will not be answered, known before its body."""
        self.live: Live | None = None
        """Who works on it."""
        self.upstream: Upstream | None = None
        self.connecting: asyncio.Task[None] | None = None
        self._stale: Live | None = None
        """Whose kept connection turned out to be closed."""
        self.edited: tuple[str, Body | Edited | Refusal] | None = None
        self.forwarded: list[bytes] = []
        """Headers that an instance gets, each with its line's end."""

    # to an instance

    def start(self) -> None:
        """Its body is there: answer it."""
        refused = self.refusal
        if refused is None:
            if self.operation.kind != "inference":
                self.core.answer(self)
                return
            refused = self._admitted()
        if refused is not None:
            self.refuse(refused)
        else:
            self.attempt()

    def _admitted(self) -> Refusal | None:
        """Why it is not for a model, where it is not."""
        ask = asked(self.body, self.media, self.operation, self.query)
        if isinstance(ask, Refusal):
            return ask
        self.ask, self.asked, self.goal = ask, ask.model, ask.model
        entry = self.core.directory.find(ask.model)
        if entry is None or not self.core.shows(self, ask.model):
            return unknown_model(ask.model)
        self.entry, self.model = entry, entry.name
        ticket = self.core.limiter.admit(self.grant, entry.served)
        if isinstance(ticket, Refusal):
            return ticket
        self.tickets = (ticket,)
        self.strips = ask.stream and not ask.wants_usage and self.operation.usage == "openai"
        return None

    def _ask(self, live: Live, now: float, *, anew: bool = False) -> None:
        """Give it to this instance; `anew`: on a connection that nothing was asked on before."""
        core = self.core
        if self.waits_since:
            core.waits.leave(self)
        self.live, self.slot = live, live.slot
        live.own += 1
        core.board.add(live.row, 1)
        core.asked += 1
        live.turn = core.asked
        core.stirred = True
        self.moved = now
        core.active.add(self)
        if live.idle and not anew:
            upstream = live.idle.pop()
            upstream.prepare(self)
            self.connected(upstream)
        else:
            self.connecting = core.loop.create_task(connect(live, self))

    def connected(self, upstream: Upstream) -> None:
        """There is a connection: send the request."""
        live = upstream.live
        if self.over or self.live is not live:
            upstream.close()
            return
        self.connecting, self.upstream = None, upstream
        name = self.called
        body = self.body if name == self.asked and not self.strips else self._edit(name)
        if isinstance(body, Refusal):
            self.refuse(body)
            return
        operation = self.operation
        path = operation.path if operation.model_in != "path" else operation.sent(name)
        first, length = live.heads.get(path) or live.head(path), b"content-length: %d\r\n" % body.size
        if body.size <= SMALL:
            upstream.transport.write(b"".join((first, length, *self.forwarded, b"\r\n", body.content)))
        else:
            upstream.send(b"".join((first, length, *self.forwarded, b"\r\n")), body.pieces())

    def _edit(self, known: str) -> Body | Edited | Refusal:
        """What an instance gets that knows the model by this name, where it must be told so or asked for its usage."""
        made = self.edited
        if made is None or made[0] != known:
            model = known if known != self.asked else None
            edited = renamed(self.body, self.ask, model, include_usage=self.strips)
            made = self.edited = (known, edited)
        return made[1]

    def unreached(self, why: str, *, ours: bool = False) -> None:
        """No connection came about, so nothing was asked; `ours`: none could have, to whichever instance."""
        self.connecting = None
        live = self.live
        if self.over or live is None:
            return
        if ours:
            self.refuse(self.core.short_of(why))
        elif live is self._stale:  # it did not just close a connection: it has ended, most likely of this
            self._died(live, why)
        else:
            self._note(live, why)
            self.attempt()

    def failed(self, why: str, *, said: bool) -> None:
        """Its instance ended the connection, or does not speak HTTP; `said`: after it had begun to answer."""
        upstream, live, self.upstream = self.upstream, self.live, None
        if self.over or live is None or upstream is None:
            return
        if upstream.reused and not said:  # closed while we wrote to it, as far as can be known: it was not read
            self.forget()
            self._release()
            self._stale = live
            self._ask(live, self.core.now(), anew=True)
        else:
            self._cut(live, why)

    def _died(self, live: Live, why: str) -> None:
        """It ended, or might as well have."""
        self.deaths += 1
        self.died = self.core.now()
        self._elsewhere(live, why)

    def _elsewhere(self, live: Live, why: str) -> None:
        """It was asked in vain: the next."""
        self.forget()
        self.tried.append(live)
        self._note(live, why)
        self.attempt()

    def _note(self, live: Live, why: str) -> None:
        live.failed(self.core.now(), why)
        self._release()
        self._wrong = why
        self.retries += 1

    # from an instance

    def answered(self, upstream: Upstream) -> None:
        """The head of an answer is there."""
        status, live = upstream.status, upstream.live
        if status in _UNAVAILABLE or 300 <= status < 400:  # it cannot now; or it points to where nobody of ours is
            self.upstream = None
            upstream.close()
            self._elsewhere(live, f"it answered {status}")
            return
        live.answered()
        self.moved = self.core.now()
        self.pass_head(upstream)

    def whole(self, upstream: Upstream, content: bytes, lines: list[bytes]) -> None:
        """A good answer is there, all of it."""
        self.upstream = None
        if upstream.live.failures:
            upstream.live.answered()
        self.status, self.pieces = 200, 1
        self.pass_held(content, lines)
        upstream.rest()
        self.end()

    def piece(self, piece: bytes) -> None:
        """Some of the answer's body."""
        upstream = self.upstream
        if upstream is not None:
            self.moved = now = self.core.now()
            self.pass_piece(piece, upstream, now)

    def complete(self) -> None:
        """The answer is complete."""
        upstream, live, self.upstream = self.upstream, self.live, None
        if upstream is None or live is None:
            return
        if self.pass_end(upstream):
            upstream.rest()
            self.end()
        else:
            upstream.close()
            self._cut(live, "it closed the connection")

    def _cut(self, live: Live, why: str) -> None:
        """It ended before its answer did: it is asked of another, unless some of it was passed on."""
        if not self.passed:
            self._died(live, why)
            return
        live.failed(self.core.now(), why)
        self.break_off(f"cannot go on: the instance ended in the middle of its answer: {why}")

    def hold(self, *, held: bool) -> None:
        """The client takes less than there is: its instance is to wait."""
        if self.upstream is not None:
            if held:
                self.upstream.transport.pause_reading()
            else:
                self.moved = self.core.now()
                self.upstream.transport.resume_reading()

    # the clock, and the ends

    def late(self) -> None:
        """Its instance was silent for too long."""
        live = self.live
        if self.over or live is None:
            return
        self._let_go()
        self._cut(live, "it was silent for too long")

    def end_now(self) -> None:
        """The gateway ends: so does this, and says so where it can."""
        self._let_go()
        if self.begun:
            self.break_off("cannot go on: the gateway ends")
        else:
            self.refuse(Refusal(status=503, code="unavailable", message="the gateway ends", retry_after=1, closes=True))

    def abandon(self) -> None:
        """The client left: nobody works on it any longer."""
        if not self.over:
            self.reason = "client_left"
            self.end(gone=True)

    def crashed(self) -> None:
        """We have a bug: at least this one client hears of it, and nobody waits."""
        self._let_go()
        if self.begun:
            self.break_off("cannot go on: the gateway has a bug here")
        else:
            message = "cannot answer: the gateway has a bug here; its log has the details"
            self.refuse(Refusal(status=500, code="gateway_error", message=message, closes=True))

    def _let_go(self) -> None:
        """Whoever works on it need not."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None

    def _release(self) -> None:
        live, self.live = self.live, None
        if live is not None:
            live.own -= 1
            self.core.board.add(live.row, -1)
            self.core.stirred = True
            self.core.active.discard(self)

    def end(self, *, gone: bool = False, abort: bool = False) -> None:
        """It is over."""
        if self.over:
            return
        self.over = True
        if self.upstream is not None or self.connecting is not None:
            self._let_go()
        if self.waits_since:
            self.core.waits.leave(self)
        self._release()
        if self.streamed:
            self.count_stream()
        for ticket in self.tickets:
            ticket.spend(self.prompt, self.written)
            ticket.done()
        self.body.close()
        if self.status >= 500 and not self.reason:
            self.reason = "upstream_error"
        self.ended = self.core.now()
        self.core.observer.ended(self)
        if not gone:
            self.connection.answered(self, abort=abort)
