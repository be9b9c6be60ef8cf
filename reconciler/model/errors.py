"""Errors, named by what happens next. They live in the shell; the core sees values.

HoldfastError
├── SpecError        a person must edit a file
├── TransientError   worth trying again by itself
├── TerminalError    pointless until something changes
└── ApiError         the control API said no, or could not be reached
"""

from reconciler.model.source import Problem
from reconciler.model.status import Reason


class HoldfastError(Exception):
    """Anything that Holdfast itself has to say. The message is for a person."""


class SpecError(HoldfastError):
    """Files that must be edited."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class ActionError(HoldfastError):
    """An action that could not be carried out."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(ActionError):
    """Worth trying again: the disk was full, a process could not be made."""


class TerminalError(ActionError):
    """Pointless until something changes: a file or a secret is missing."""


class ApiError(HoldfastError):
    """The control API refused, or could not be reached."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
