"""`holdfast models`: the weights on this machine; and `prune`, which deletes those that nobody needs."""

import argparse
import json
import sys
import time
from dataclasses import asdict

from reconciler import shelf
from reconciler.cli import cache
from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.model.errors import HoldfastError
from reconciler.model.quantity import print_size
from reconciler.model.stored import Kept, Shelf
from reconciler.plan import spare
from tui.view.clean import line
from tui.view.paint import counted
from tui.view.shelf import kept_lines, shelf_text

_AT_ONCE = 40
"""Sources that the daemon takes in one request."""


def models(chosen: argparse.Namespace) -> int:
    """List them."""
    found, _ = cache.look(places(chosen, here=True))
    screen = Screen()
    if chosen.json:
        screen.say(json.dumps(asdict(found), ensure_ascii=False))
        return 0
    screen.say(shelf_text(found, now=time.time(), width=screen.width, colour=screen.colour))
    frees = spare.freed(found, [each.source for each in spare.spare(found)])
    if frees:
        screen.say(f"`holdfast models prune` would give back {print_size(frees)}, and asks first")
    return 0


def prune(chosen: argparse.Namespace) -> int:
    """Show what would go, ask, and delete it."""
    found, client = cache.look(places(chosen, here=True))
    going, screen = _going(found, chosen), Screen()
    if not going:
        screen.say("nothing may go: all that is here is needed, in use, or not as old")
        return 0
    sources = [each.source for each in going]
    frees, holds = spare.freed(found, sources), sum(each.size for each in going)
    screen.say("would delete:" if chosen.dry_run else "to be deleted:")
    screen.say("\n".join(kept_lines(going, now=time.time(), width=screen.width, colour=screen.colour)))
    rest = f"; {print_size(holds - frees)} of it stays, as others use it" if holds > frees else ""
    screen.say(f"that gives back {print_size(frees)}{rest}")
    if chosen.dry_run:
        return 0
    if not chosen.yes and not _agreed(screen, f"delete {counted(len(going), 'source')}?"):
        warn("holdfast: nothing was deleted")
        return 1
    if client is not None:
        for begin in range(0, len(sources), _AT_ONCE):
            screen.say(line(client.prune(sources[begin : begin + _AT_ONCE])))
        return 0
    from reconciler.act.discard import discard

    discard(shelf.place_of(found), sources)
    screen.say(f"deleted {counted(len(going), 'source')}: {print_size(frees)}")
    return 0


def _going(found: Shelf, chosen: argparse.Namespace) -> list[Kept]:
    """What is meant: what was named, else all that may go. Raises HoldfastError where something named may not."""
    if found.frozen:
        raise HoldfastError(f"cannot delete weights now: {found.frozen}")
    before = None if chosen.older_than is None else time.time() - chosen.older_than
    if not chosen.sources:
        return spare.spare(found, before=before)
    named = [_named(found, text) for text in chosen.sources]
    refused = spare.refused(found, named)
    if refused:
        raise HoldfastError(f"cannot delete {refused}; nothing was deleted")
    return [each for each in spare.spare(found, before=before) if each.source in named]


def _named(found: Shelf, text: str) -> str:
    """A source as the cache names it: `hf:org/repo` for the one GGUF file of it that is here."""
    there = {each.source for each in found.kept}
    return f"{text}/*.gguf" if text not in there and f"{text}/*.gguf" in there else text


def _agreed(screen: Screen, question: str) -> bool:
    if not (screen.terminal and sys.stdin.isatty()):
        raise HoldfastError("nothing was deleted: answer on a terminal, or give --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
