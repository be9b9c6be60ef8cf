"""Talks to a model, through the gateway. What a model says is cleaned for the terminal."""

import argparse
import contextlib
import sys

from reconciler.cli.reach import reach
from reconciler.cli.screen import Screen, warn
from reconciler.client.chat import Conversation, Instead, Note
from reconciler.model.errors import HoldfastError
from tui.view.clean import clean, line


def chat(chosen: argparse.Namespace) -> int:
    """Ask once, with MESSAGE or stdin; on a terminal without MESSAGE, converse."""
    gate = reach(chosen)
    conversation = Conversation(lambda: gate, chosen.name)
    if not chosen.message and sys.stdin.isatty():
        return _converse(conversation)
    text = " ".join(chosen.message) or sys.stdin.read().strip()
    if not text:
        raise HoldfastError("cannot ask nothing; give a MESSAGE, or text on stdin")
    _answer(conversation, text)
    return 0


def _converse(conversation: Conversation) -> int:
    with contextlib.suppress(ImportError):
        import readline

        readline.set_auto_history(True)  # keys to edit and to recall a line
    conversation.begin()  # before anything is typed
    print(f"talking to {conversation.model}; Ctrl-C ends an answer, Ctrl-D the conversation")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return 0
        try:
            if text:
                _answer(conversation, text)
        except KeyboardInterrupt:
            print()
        except HoldfastError as error:
            warn(f"holdfast: {clean(str(error))}")


def _answer(conversation: Conversation, text: str) -> None:
    """Print a model's answer as it comes. Raises HoldfastError where it breaks off."""
    began = False
    aside = Screen(sys.stderr)
    try:
        for event in conversation.ask(text):
            if isinstance(event, Note):
                aside.note(line(event.text))
            elif isinstance(event, Instead):
                aside.note(f"{line(event.model)} answers instead of {conversation.model}")
            elif event.thought:
                aside.note(f"{conversation.model} thinks")
            else:
                if not began:
                    aside.clear()
                began = True
                sys.stdout.write(clean(event.text))
                sys.stdout.flush()
    finally:
        aside.clear()
        if began:
            sys.stdout.write("\n")
            sys.stdout.flush()
