"""The one name of an instance everywhere."""


def slot(name: str, index: int) -> str:
    """`chat`, 0 → `chat/0`."""
    return f"{name}/{index}"


def split_slot(text: str) -> tuple[str, int]:
    """`chat/0` → `chat`, 0."""
    name, _, index = text.rpartition("/")
    return name, int(index)
