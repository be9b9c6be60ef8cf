"""A conversation with a model: it asks in a thread of its own, and keeps what was said while other screens are seen."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from reconciler.client.chat import Conversation, Instead, Note, Piece
from reconciler.client.gateway import Gateway
from reconciler.model.errors import HoldfastError
from tui.view.chat import Turn


class Talk:
    """With one model."""

    def __init__(self, gate: Callable[[], Gateway], model: str, wake: Callable[[], None]) -> None:
        """`gate` is asked for each question, `wake` is called whenever something came, both in our thread."""
        self.model = model
        self._wake = wake
        self._conversation = Conversation(gate, model)
        self._closed = False
        self._lock = threading.Lock()
        self._ended: list[Turn] = []
        self._turn: Turn | None = None
        self._thoughts: list[str] = []
        self._answer: list[str] = []

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was said, and what is being said."""
        with self._lock:
            return (*self._ended, *([self._now()] if self._turn is not None else []))

    @property
    def answering(self) -> bool:
        """Whether an answer is under way."""
        return self._turn is not None

    def ask(self, text: str) -> None:
        """Begin an answer; nothing where one is under way."""
        if self._turn is None:
            self._thoughts, self._answer = [], []
            self._turn = Turn(question=text)
            answer = self._conversation.ask(text)
            threading.Thread(target=self._listen, args=(answer,), name=f"talk {self.model}", daemon=True).start()
            self._tell()

    def stop(self) -> None:
        """End the answer that is under way."""
        if self._turn is not None:
            self._change(stopped=True)
            self._conversation.stop()

    def close(self) -> None:
        """The same; nobody looks any more."""
        self._closed = True
        self.stop()

    def clear(self) -> None:
        """Begin anew."""
        if self._turn is None:
            self._ended.clear()
            self._conversation.messages.clear()

    def _listen(self, answer: Iterable[Piece | Note | Instead]) -> None:
        error = ""
        try:
            for event in answer:
                if isinstance(event, Note):
                    self._change(note=event.text)
                elif isinstance(event, Instead):
                    self._change(instead=event.model)
                else:
                    (self._thoughts if event.thought else self._answer).append(event.text)
                    self._change(note="", measured=self._conversation.measured)
        except (HoldfastError, OSError) as problem:
            error = str(problem)
        self._change(note="", error=error, ended=True, measured=self._conversation.measured)
        with self._lock:
            self._ended.append(self._now())
            self._turn = None
        self._tell()

    def _now(self) -> Turn:
        pieces = len(self._thoughts) + len(self._answer)
        told = self._turn or Turn()
        return replace(told, thought="".join(self._thoughts), answer="".join(self._answer), pieces=pieces)

    def _change(self, **what: object) -> None:
        with self._lock:
            if self._turn is not None:
                self._turn = replace(self._turn, **what)  # type: ignore[arg-type]
        self._tell()

    def _tell(self) -> None:
        if not self._closed:
            self._wake()
