"""What questions have in common: each is answered once, however often a key says so before it has gone."""

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Question(ModalScreen[T]):
    """Something that is asked before anything else goes on."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Answer it. Nothing where it was answered: Textual would take away what it stood on."""
        return super().dismiss(result) if self.is_active else AwaitComplete.nothing()
