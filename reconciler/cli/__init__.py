"""The verbs a person types. A verb's module is imported once it was typed: asking for help costs no more than that."""

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was typed. Returns the exit status; what goes wrong is one line on stderr."""
    from reconciler.cli.parser import parse

    chosen = parse(arguments)
    try:
        module, _, verb = chosen.does.partition(":")
        status: int = getattr(import_module(f"reconciler.cli.{module}"), verb)(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read us has had enough; what is buffered must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        said = _said(error)
        if said is None:
            raise
        with contextlib.suppress(BrokenPipeError):
            print(said, file=sys.stderr)
        return 1
    return status


def _said(error: Exception) -> str | None:
    """What to tell of an error; None where it is a bug, and its traceback is the message."""
    from reconciler.model.errors import HoldfastError, SpecError
    from tui.view.clean import clean

    if isinstance(error, SpecError):
        return str(error)
    if isinstance(error, HoldfastError):
        return f"holdfast: {clean(str(error))}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"holdfast: cannot use {error.filename}: {(error.strerror or str(error)).lower()}"
    return None
