"""How many tokens a prompt and its answer had, as engines say it themselves: out of answers and out of streams.

Streams pass as they come. Only the event that we asked for and the client did not is taken out.

Who says it how: OpenAI's paths in `usage`; in a stream only when asked, in an event with empty `choices` just before
`[DONE]` (vLLM, llama.cpp, SGLang, TGI, Ollama). Responses in `response.completed`. Anthropic's the prompt in
`message_start`, and the answer so far in each `message_delta`. An engine's own paths in fields of their last object.
"""

import re
from collections.abc import Iterator

import msgspec

from reconciler.gateway.paths import Usage

Tokens = tuple[int, int]
"""Of the prompt, of the answer."""

TAIL = 65536
"""Bytes of an answer, or of one event, whose end is enough to find its tokens in."""
_HELD = 8192
"""Bytes of an event beyond which it is not the one that is taken out."""


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    def tokens(self) -> Tokens | None:
        written = self.completion_tokens or self.output_tokens or 0
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        prompt = self.prompt_tokens or (self.input_tokens or 0) + cached or max((self.total_tokens or 0) - written, 0)
        return (prompt, written) if prompt or written else None


class _Within(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Object(msgspec.Struct):
    """An answer, or what an event says."""

    choices: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    message: _Within | None = None
    response: _Within | None = None


_decode = msgspec.json.Decoder(_Object).decode
_decode_answer = msgspec.json.Decoder(_Within).decode
_decode_usage = msgspec.json.Decoder(_Usage).decode

_WRITTEN = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(\{(?:[^{}]++|\{[^{}]*+\})*+\})')
_NATIVE = re.compile(
    rb'"(?:(tokens_evaluated|prompt_eval_count|prompt_tokens)|tokens_predicted|eval_count|completion_tokens'
    rb'|generated_tokens)"[ \t\r\n]*:[ \t\r\n]*([0-9]{1,15})'
)
"""llama.cpp, Ollama, SGLang; TGI tells only what was written."""
_TIMINGS = re.compile(rb'"(?:(cache_n|prompt_n)|predicted_n)"[ \t\r\n]*:[ \t\r\n]*([0-9]{1,15})')
_BLANK = re.compile(rb"\r?\n\r?\n")
_DATA = re.compile(rb"^data: ?(.*?)\r?$", re.MULTILINE)
_FINISHED = {
    "openai": re.compile(rb"^data: ?\[DONE\]\r?$", re.MULTILINE),
    "anthropic": re.compile(rb"^event: ?message_stop\r?$", re.MULTILINE),
    "responses": re.compile(rb"^event: ?response\.(?:completed|incomplete|failed)\r?$", re.MULTILINE),
}
_LAST = {"openai": b"[DONE]", "anthropic": b"message_stop", "responses": b"event: response."}
"""What is in every event that ends a stream, and in few others."""
_CHOICE = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*[^\] \t]')


def of_answer(content: bytes, kind: Usage) -> Tokens | None:
    """The tokens of an answer that is no stream: of all of it, or of its last TAIL bytes where it is longer."""
    if kind == "none":
        return None
    if kind == "native":
        return _of_native(content)
    try:
        usage = _decode_answer(content).usage
    except (ValueError, RecursionError):
        return _of_tail(content)
    return usage.tokens() if usage is not None else None


def _of_tail(content: bytes) -> Tokens | None:
    """Of what has lost its beginning. What is said last is the engine's own word; what it echoes comes before."""
    found = _WRITTEN.findall(content, max(len(content) - TAIL, 0))
    try:
        return _decode_usage(found[-1]).tokens() if found else None
    except ValueError:
        return None


def _of_native(content: bytes) -> Tokens | None:
    prompt = written = 0
    for found in _NATIVE.finditer(content, max(len(content) - TAIL, 0)):
        if found[1]:
            prompt = int(found[2])
        else:
            written = int(found[2])
    if not prompt and not written:  # llama.cpp repeats the prompt behind them, and then says it in another way
        for found in _TIMINGS.finditer(content, max(len(content) - TAIL, 0)):
            if found[1]:
                prompt += int(found[2])
            else:
                written = int(found[2])
    return (prompt, written) if prompt or written else None


class Stream:
    """One stream of events: pass each piece through `feed`, and what that returns on; at the end `rest`."""

    __slots__ = ("_finished", "_kind", "_last", "_open", "_passing", "_prompt", "_size", "_strip", "_written")

    def __init__(self, kind: Usage, *, strip: bool) -> None:
        """`strip`: take out the event that says nothing but the tokens, of kind `openai`."""
        self._kind = kind
        self._strip = strip and kind == "openai"
        self._last = _LAST.get(kind, b"")
        self._finished = not self._last
        self._open: list[bytes] = []
        """Of the event that is not at its end (native: of the whole stream), the beginning and the latest."""
        self._size = 0
        self._passing = not self._strip
        """Whether that event is passed on as it comes."""
        self._prompt = self._written = 0

    @property
    def finished(self) -> bool:
        """Whether it came to its own end; where that is no event, it is the connection's to say, and this is True."""
        return self._finished

    @property
    def tokens(self) -> Tokens | None:
        """What is known by now."""
        if self._kind == "native":
            return _of_native(b"".join(self._open))
        return (self._prompt, self._written) if self._prompt or self._written else None

    def feed(self, piece: bytes) -> bytes:
        """What is to be sent on now: `piece` itself, unless something has to be taken out of it."""
        if not self._open and piece[-2:] == b"\n\n" and self._last:
            if b'"usage"' in piece or self._last in piece:
                return self._read(piece)
            return piece
        return self._part(piece) if self._last else self._keep(piece)

    def rest(self) -> bytes:
        """At the end of the stream: what was held back, of an event that is cut short."""
        if self._passing:
            return b""
        self._passing = True
        return b"".join(self._open)

    def _keep(self, piece: bytes) -> bytes:
        """Pass on, of a stream whose last object says it all."""
        if self._kind == "native":
            self._push(piece)
        return piece

    def _push(self, piece: bytes) -> None:
        self._open.append(piece)
        self._size += len(piece)
        if self._size > 4 * TAIL:
            text = b"".join(self._open)
            self._open = [text[:256], text[-TAIL:]]
            self._size = TAIL + 256

    def _part(self, piece: bytes) -> bytes:
        """Pass on a piece that begins or ends within an event."""
        if self._passing and b"\n" not in piece:
            self._push(piece)
            return piece
        text = b"".join((*self._open, piece))
        sent = len(text) - len(piece) if self._passing else 0
        out, end = b"", _last_end(text)
        if end:
            first = 0
            if sent:  # the beginning of the first event is on its way, so is its end
                first = _first_end(text)
                self._read(text[:first])
                out = text[sent:first]
            out += self._read(text[first:end])
            sent, self._passing = end, False
        rest = text[end:]
        self._passing = self._passing or not self._strip or len(rest) > _HELD or _CHOICE.search(rest) is not None
        if self._passing:
            out += text[sent:]
        self._open, self._size = [], 0
        if rest:
            self._push(rest)
        return out if self._strip else piece

    def _read(self, events: bytes) -> bytes:
        """Note what whole events say; what is left of them."""
        if self._last in events and _FINISHED[self._kind].search(events):
            self._finished = True
        if b'"usage"' not in events:
            return events
        kept = [event for event in _split(events) if not (self._counts(event) and self._strip)]
        left = b"".join(kept)
        return events if len(left) == len(events) else left

    def _counts(self, event: bytes) -> bool:
        """Note the tokens that an event tells of; whether it tells nothing else."""
        if b'"usage"' not in event:
            return False
        try:
            said = _decode(b"\n".join(_DATA.findall(event)))
        except (ValueError, RecursionError):  # it has lost its middle
            self._note(_of_tail(event))
            return False
        within = said.message or said.response
        usage = said.usage or (within.usage if within is not None else None)
        if usage is not None:
            self._note(usage.tokens())
        return usage is not None and said.choices == []

    def _note(self, tokens: Tokens | None) -> None:
        if tokens is not None:
            self._prompt = max(self._prompt, tokens[0])
            self._written = max(self._written, tokens[1])


def _split(events: bytes) -> Iterator[bytes]:
    at = 0
    for blank in _BLANK.finditer(events):
        yield events[at : blank.end()]
        at = blank.end()
    if at < len(events):
        yield events[at:]


def _first_end(text: bytes) -> int:
    """Where the first event of `text` ends."""
    blank = _BLANK.search(text)
    return blank.end() if blank is not None else len(text)


def _last_end(text: bytes) -> int:
    """Where the last event of `text` ends that is there as a whole; 0 where none is."""
    at = max(text.rfind(b"\n\n"), text.rfind(b"\n\r\n"))
    blank = _BLANK.search(text, at) if at >= 0 else None
    return blank.end() if blank is not None else 0
