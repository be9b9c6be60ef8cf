"""The one name of an instance everywhere, and what tells whether one is as declared."""

from collections.abc import Mapping


def slot(name: str, index: int) -> str:
    """`chat`, 0 → `chat/0`."""
    return f"{name}/{index}"


def split_slot(text: str) -> tuple[str, int]:
    """`chat/0` → `chat`, 0."""
    name, _, index = text.rpartition("/")
    return name, int(index)


def digest(fingerprint: str, live: str, adapters: Mapping[str, str]) -> str:
    """The `digest` of a Workload, and of an Instance."""
    if not adapters:
        return f"{fingerprint}:{live}"
    return ":".join((fingerprint, live, *(f"{name}={source}" for name, source in sorted(adapters.items()))))
