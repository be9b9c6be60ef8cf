"""Times of day, as a person there reads them."""

from datetime import datetime, tzinfo


def clock(at: float, wall: float, zone: tzinfo | None = None) -> str:
    """`14:03:12`, with the date where that is not today. Seconds since the epoch; `zone` None: of this machine."""
    then, today = moment(at, zone), moment(wall, zone)
    if then is None:
        return "?"
    text = f"{then:%H:%M:%S}"
    return text if today is not None and then.date() == today.date() else f"{day(then)} {text}"


def moment(at: float, zone: tzinfo | None = None) -> datetime | None:
    """Where that is a time at all."""
    try:
        return datetime.fromtimestamp(at, zone)
    except (ValueError, OverflowError, OSError):
        return None


def day(at: datetime) -> str:
    """`2026-03-01`."""
    return f"{at:%Y-%m-%d}"
