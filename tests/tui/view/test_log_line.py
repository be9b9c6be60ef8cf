"""What engines print becomes lines that a terminal does not act on, with the level and the time of their record."""

import pytest

from tui.view.log_level import Level
from tui.view.log_line import LONGEST, Cutter, shown

D, N, W, E = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR


def lines(data: bytes):
    cutter = Cutter(0, 0)
    found = cutter.feed(data, 0)
    rest = cutter.unfinished()
    return [*found, rest] if rest else found


HEADS = {
    "vLLM": ("INFO 11-21 12:02:51 [core.py:58] Initializing", N, "1121120251", 32),
    "vLLM, a process of several": ("(EngineCore_0 pid=12) ERROR 11-21 12:02:51 [core.py:58] no", E, "1121120251", None),
    "vLLM, a worker": ("(VllmWorker rank=1 pid=7) WARNING 11-21 12:02:51 [a.py:1] slow", W, "1121120251", None),
    "vLLM, api server": ('(APIServer pid=1) INFO:     127.0.0.1:1 - "GET /health HTTP/1.1" 200 OK', N, "", None),
    "uvicorn": ("ERROR:    Exception in ASGI application", E, "", 6),
    "Python's default": ("WARNING:root:low on memory", W, "", 8),
    "Python with a time": ("2025-11-21 12:02:51,123 - vllm.engine - ERROR - no", E, "1121120251123", None),
    "gunicorn": ("[2025-11-21 12:02:51 +0000] [7] [INFO] Booting worker", N, "11211202510000", None),
    "SGLang": ("[2025-11-21 12:02:51 TP0] Load weight begin.", N, "1121120251", None),
    "SGLang, an error": ("[2025-11-21 12:02:51] ERROR: scheduler hit an exception", E, "1121120251", None),
    "loguru": ("2025-11-21 12:02:51.123 | WARNING  | a:b:1 - hm", W, "1121120251123", None),
    "TGI": (
        "2025-11-21T12:02:51.123456Z ERROR text_generation_launcher: Shard failed",
        E,
        "1121120251123456",
        None,
    ),
    "Rust": ("[2025-11-21T12:02:51Z WARN  hyper::proto] odd", W, "1121120251", None),
    "Triton": ("E1121 12:02:51.123456 1 model.cc:592] cannot load", E, "1121120251123456", None),
    "Triton, newer": ("W20251121 12:02:51.123456 1 a.cc:5] hm", W, "1121120251123456", None),
    "llama.cpp with prefixes": ("0.01.283.215 W load: special token", W, "", 14),
    "Ollama": ('time=2025-11-21T12:02:51.123Z level=WARN source=a.go:1 msg="hm"', W, "1121120251123", None),
    "Ollama, debug": ("time=2025-11-21T12:02:51.123+01:00 level=DEBUG source=a.go:1 msg=x", D, None, None),
    "gin": ('[GIN] 2025/11/21 - 12:02:51 | 200 |  1.2ms | 127.0.0.1 | GET "/"', N, "1121120251", None),
    "Go": ("2025/11/21 12:02:51 listening", N, "1121120251", None),
    "zap": ('{"level":"error","ts":1732190571.1,"msg":"no"}', E, "17321905711", 0),
    "JSON of Python": ('{"asctime": "2025-11-21 12:02:51", "levelname": "WARNING"}', W, "1121120251", 0),
    "llama.cpp, an error": ("llama_model_load: error loading model: tensor", E, "", 0),
    "llama.cpp, another": ("main: error: unable to load model", E, "", 0),
    "llama.cpp, a warning": ("warning: no usable GPU found", W, "", 0),
    "llama.cpp, anything": ("srv  load_model: loading model", N, "", 0),
    "CUDA": ("CUDA error: out of memory", E, "", 0),
    "GGML": ("GGML_ASSERT(ok) failed", E, "", 0),
    "C++": ("terminate called after throwing an instance of 'x'", E, "", 0),
    "a shell": ("Segmentation fault (core dumped)", E, "", 0),
    "an exception alone": ("ValueError: no", E, "", 0),
    "a word in prose": ("the last error was long ago", N, "", 0),
    "a path": ("GET /errors/ERROR.html", N, "", 0),
    "nothing": ("", N, "", 0),
}


@pytest.mark.parametrize(("text", "level", "stamp", "head"), HEADS.values(), ids=HEADS)
def test_level_and_time_of_what_engines_print(text, level, stamp, head):
    [line] = lines(text.encode() + b"\n")
    assert (line.text, line.level) == (text, level)
    assert stamp is None or line.stamp == stamp
    assert line.head == head if head is not None else line.head > 0


RECORDS = {
    "a traceback belongs to its error, and what follows does not": (
        "ERROR 11-21 12:00:00 [a.py:1] bad\nTraceback (most recent call last):\n  File \"a\", line 1\n    x()\n"
        "ValueError: no\n  with more\n\nDuring handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\nKeyError: 'x'\nplain",
        "EEEEEEEEEEEI",
    ),
    "a traceback alone is an error": ("INFO:  x\nTraceback (most recent call last):\n  a\nOSError\nplain", "IEEEI"),
    "a traceback behind a head": (
        "INFO 11-21 12:00:00 [a.py:1] x\nERROR 11-21 12:00:00 [a.py:1] Traceback (most recent call last):\n"
        "ERROR 11-21 12:00:00 [a.py:1]   File \"a\"\nERROR 11-21 12:00:00 [a.py:1] ValueError\nplain",
        "IEEEI",
    ),
    "what is indented belongs to what is above": ("WARNING:a:b\n  more\n\teven more\nplain", "WWWI"),
    "a panic of Go, with its goroutines": (
        "panic: runtime error\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1d\nexit status 2\n"
        "time=2025-11-21T12:02:51.123Z level=INFO msg=x",
        "EEEEEEI",
    ),
    "a note that debugs": ("DEBUG:a:b\n  more", "DD"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "levels"), RECORDS.values(), ids=RECORDS)
def test_lines_belong_to_their_record(text, levels):
    assert "".join(line.level.name[0] for line in lines(text.encode())) == levels


def test_a_line_without_a_time_has_the_last_one():
    stamps = [
        line.stamp for line in lines(b"a\n2025/11/21 12:02:51 b\nc\n  d\nTraceback (most recent call last):\nE: x\n")
    ]
    assert stamps == ["", *["1121120251"] * 5]


SHOWN = {
    "colours": (b"\x1b[1;31mred\x1b[0m", "red"),
    "a title and the clipboard": (b"\x1b]0;evil\x07a\x1b]52;c;eA==\x1b\\b", "ab"),
    "eight-bit controls": (b"a\xc2\x9b31mb", "ab"),
    "bad bytes": (b"a\xff\xfeb", "a\ufffd\ufffdb"),
    "marks of direction": ("a\u202eb\u2066c".encode(), "abc"),
    "a progress bar": (b"10%\r50%\r100%", "100%"),
    "a progress bar that goes on": (b"10%\r50%\r", "50%"),
    "a line's end of Windows": (b"text\r", "text"),
    "tabs": (b"a\tb", "a    b"),
    "separators of lines": ("a\u2028b\x0bc\x0cd\x85e".encode(), "abcde"),
    "zeros": (b"a\x00b", "ab"),
    "wide letters": ("漢字 🦙".encode(), "漢字 🦙"),
    "a sequence without an end": (b"a\x1b[31", "a"),
}


@pytest.mark.parametrize(("raw", "text"), SHOWN.values(), ids=SHOWN)
def test_nothing_that_a_terminal_would_act_on_is_shown(raw, text):
    assert shown(raw) == text


def test_every_byte_there_is_makes_text_without_controls():
    for first in range(256):
        raw = bytes((first, *range(256))) + bytes(range(255, -1, -1))
        text = shown(raw.replace(b"\n", b""))
        assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text)


def test_a_very_long_line_comes_in_pieces_that_break_no_letter():
    data = ("é" * 3 * LONGEST + "\n").encode()
    found = lines(data)
    assert "".join(line.text for line in found) == "é" * 3 * LONGEST
    assert len(found) >= 5


def test_a_line_that_has_no_end_yet_is_shown_and_then_replaced_by_its_whole():
    cutter = Cutter(3, 100)
    assert cutter.feed(b"load", 100) == []
    assert (line := cutter.unfinished()) is not None
    assert (line.source, line.at, line.text) == (3, 100, "load")
    [whole] = cutter.feed(b"ed\n", 104)
    assert (whole.at, whole.end, whole.text) == (100, 107, "loaded")
    assert cutter.unfinished() is None
