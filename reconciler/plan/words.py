"""How things went, in a person's words."""

from collections.abc import Sequence

from reconciler.model.fleet import Workload
from reconciler.model.observation import Exited

ASKED = "was stopped"
"""What the words of an end that we had asked for begin with."""
_NAMED = 3
"""Of many, so many are named."""


def ended(end: Exited) -> str:
    """How it ended, in words."""
    if end.asked is not None:
        text = f"{ASKED}: {end.asked.value}"
    elif end.oom:
        text = "was killed: out of memory"
    elif end.signal is not None:
        text = f"was killed by signal {end.signal}"
    elif end.code is not None:
        text = f"exited with status {end.code}"
    else:
        text = "ended" if end.detail else "ended, how is not known"
    return f"{text} ({end.detail})" if end.detail else text


def let_go(workload: Workload) -> str:
    """What ends its pause, which is its file's or else by command."""
    if workload.paused:
        return f"remove `paused: true` at {workload.source.path}:{workload.source.pause}"
    return f"`holdfast resume {workload.name}`"


def several(names: Sequence[str]) -> str:
    """`a/0, b/0, c/0 and 5 more`."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED + 1 else ""
    return ", ".join(names[:_NAMED] if more else names) + more


def in_a_row(count: int) -> str:
    """How often it has failed."""
    return "the first time" if count <= 1 else f"{count} times in a row"
