"""How the daemon speaks of itself: JSON lines under systemd, readable lines on a terminal. It never logs a secret."""

import json
import logging
import os
import sys
import time

LEVELS = ("debug", "info", "warning", "error")


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        subject = getattr(record, "subject", None)
        if subject is not None:
            line |= {"subject": subject, "reason": getattr(record, "reason", "")}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Readable(logging.Formatter):
    """`21:04:07 chat/0 is ready on port 9001`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = f"{clock} {level}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def open_journal(level: str, *, structured: bool | None = None) -> None:
    """Send everything logged to stderr; structured where systemd reads it, unless told otherwise."""
    if structured is None:
        structured = "JOURNAL_STREAM" in os.environ
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if structured else _Readable())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
