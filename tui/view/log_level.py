"""Which record a line of a log belongs to, how grave it is, and when it was written, as engines print it.

Knows vLLM, SGLang, llama.cpp, Ollama, TGI, Triton, uvicorn, Python's logging and tracebacks, Go, Rust, glog and JSON.
"""

import re
from enum import IntEnum
from typing import NamedTuple


class Level(IntEnum):
    """How grave; what says nothing of it is INFO."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


class Record(NamedTuple):
    """What is known of a line from its record."""

    level: Level = Level.INFO
    stamp: str = ""
    """The digits of its time without the year, or of the last time before it: they sort as text.

    Times since a start are none: those of two instances cannot be compared."""
    head: int = 0
    """So many of its first letters say time, level and place; 0 where it begins no record that says so."""
    within: str = ""
    """`traceback` or `panic` while lines belong to it whatever they look like."""


_LEVELS = {
    **dict.fromkeys(("trace", "debug", "d"), Level.DEBUG),
    **dict.fromkeys(("info", "notice", "i"), Level.INFO),
    **dict.fromkeys(("warn", "warning", "w"), Level.WARNING),
    **dict.fromkeys(("error", "err", "fatal", "critical", "panic", "alert", "e", "f"), Level.ERROR),
}
_WORD = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|FATAL|CRITICAL|PANIC)"
_STAMP = (
    r"(?:\d{4}[-/]\d\d[-/]\d\d|\d\d-\d\d)[T ](?:-\ )?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
    r"(?:Z|\ ?[+-]\d\d:?\d\d)?"
)
_HEAD = re.compile(
    rf"""(?:\(\w+(?:[ =][^()]{{0,60}})?\)\ )?(?:\[GIN\]\ )?(?:
    (?P<glog>[IWEF])(?P<at1>(?:\d{{4}}|\d{{8}})\ \d\d:\d\d:\d\d\.\d+)(?:\ +\d+)?(?:\ [\w.-]+:\d+\])?
    |\d+\.\d\d\.\d{{3}}\.\d{{3}}\ (?P<llama>[IWED])
    |(?P<word1>{_WORD})\b(?:\ +(?P<at3>{_STAMP})(?:\ \[[^\]\n]{{1,60}}\])?|[:\]])
    |(?:time|ts|t)="?(?P<at4>{_STAMP}|\d+(?:\.\d+)?)"?(?:\ (?:level|lvl)="?(?P<word2>\w+)"?)?
    |\[?(?P<at5>{_STAMP})(?:\ (?:TP|DP|PP|EP)\d+)*\]?
    )""",
    re.VERBOSE,
)
_AFTER = re.compile(
    rf"[^\n]{{0,40}}?(?:\b(?P<upper>{_WORD})\b|\[(?P<lower>error|warn(?:ing)?|info|debug|fatal)\])[]:|]*"
)
_JSON = re.compile(r'"(?:level|levelname|severity|lvl)"\s*:\s*"(\w+)"', re.IGNORECASE)
_JSON_TIME = re.compile(r'"(?:ts|time|timestamp|asctime)"\s*:\s*"?([-\d:.,/T ]+)')
_SAYS = re.compile(
    r"(?:\S{1,60}: )?(?:(?i:fatal error|error|fatal)|(?P<warning>(?i:warn(?:ing)?)))(?::| (?:loading|in|while)\b)"
    r"|(?i:cuda error|ggml_(?:cuda_)?(?:assert|abort|error)|segmentation fault|bus error|illegal instruction"
    r"|aborted|killed\b|terminate called)|\S*(?:Error|Exception)(?:: |$)"
)
_CHAINED = re.compile(r"(?:During handling of the above|The above exception was|See root cause above)")
_TRACEBACK = "Traceback (most recent call last):"
_PANIC = re.compile(r"panic: |fatal error: |goroutine \d+ \[|thread '[^']*' (?:\(\d+\) )?panicked at ")
_YEAR = re.compile(r"\d{4}(?=[-/]|\d{4} )")
"""One program writes it and another does not, in one log."""
_DIGITS = re.compile(r"\D+")


def judge(text: str, before: Record) -> Record:
    """What a line is, by itself and by what came before it."""
    found = _HEAD.match(text)
    if found is not None:
        return _headed(text, found, before)
    if text[:1] == "{" and (said := _JSON.search(text)):
        time = _JSON_TIME.search(text)
        stamp = _digits(time[1]) if time else before.stamp
        return Record(_LEVELS.get(said[1].lower(), Level.INFO), stamp)
    if before.within == "panic":
        return before._replace(head=0)
    if text.startswith(_TRACEBACK):
        return Record(Level.ERROR, before.stamp, 0, "traceback")
    if not text or text[0] == " ":
        return before._replace(head=0)
    if before.within == "traceback":  # the exception itself; what is indented after it belongs to it too
        return Record(before.level, before.stamp)
    if _CHAINED.match(text) and before.level is Level.ERROR:
        return before._replace(head=0)
    if _PANIC.match(text):
        return Record(Level.ERROR, before.stamp, 0, "panic")
    says = _SAYS.match(text)
    level = Level.INFO if says is None else Level.WARNING if says["warning"] else Level.ERROR
    return Record(level, before.stamp)


def begins(text: str) -> bool:
    """Whether a line begins a record, whatever came before it."""
    return _HEAD.match(text) is not None


def _headed(text: str, found: re.Match[str], before: Record) -> Record:
    groups = found.groupdict()
    word = groups["glog"] or groups["llama"] or groups["word1"] or groups["word2"]
    stamp = groups["at1"] or groups["at3"] or groups["at4"] or groups["at5"]
    head = found.end()
    if word is None and (after := _AFTER.match(text, head)):
        word, head = after["upper"] or after["lower"], after.end()
    level = _LEVELS.get(word.lower(), Level.INFO) if word else Level.INFO
    within = ""
    if _TRACEBACK in text:
        level, within = max(level, Level.WARNING), "traceback"
    return Record(level, _digits(stamp) if stamp else before.stamp, head, within)


def _digits(stamp: str) -> str:
    year = _YEAR.match(stamp)
    return _DIGITS.sub("", stamp[4:] if year else stamp)
