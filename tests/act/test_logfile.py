"""A log is bounded in size and in rate, never makes anyone wait, and tells in the stream what it had to drop."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.act import logfile
from reconciler.act.logfile import BURST, PIECE, RATE, LogFile, first_failure, mark_first_failure

BLOCK = 65536


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def feed(log, data):
    for at in range(0, len(data), BLOCK):
        part = data[at : at + BLOCK]
        log.feed(bytearray(part), len(part))


def written(directory, run=1):
    there = sorted(piece for of, piece in logfile.pieces(str(directory)) if of == run)
    return b"".join((directory / f"{run}.{piece}.log").read_bytes() for piece in there)


def dropped(text):
    marks = [line for line in text.splitlines() if line.startswith(b"[holdfast: ")]
    return sum(int(mark.split()[1]) for mark in marks)


def test_what_is_said_is_written_as_it_is(tmp_path, clock):
    log = LogFile(str(tmp_path), 1, clock=clock)
    said = b"plain\n\x1b[31mred\xff\xfe\nno end"
    feed(log, said)
    log.close()
    assert written(tmp_path) == said
    assert log.dropped == 0


def test_a_log_is_cut_into_pieces_and_two_are_kept(tmp_path, clock):
    log = LogFile(str(tmp_path), 1, clock=clock)
    line = b"x" * 1023 + b"\n"
    for _ in range(5 * PIECE // BLOCK):
        feed(log, line * (BLOCK // 1024))
        clock.now += 1
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= PIECE
    assert log.dropped == 0


def test_a_flood_is_held_to_the_budget_and_every_line_is_accounted_for(tmp_path, clock):
    log = LogFile(str(tmp_path), 1, clock=clock)
    lines = 0
    for _ in range(100):  # 100 MB in two seconds
        chunk = b"".join(b"%0999d\n" % (lines + n) for n in range(1000))
        lines += 1000
        feed(log, chunk)
        clock.now += 0.02
    log.close()
    assert log.dropped > 0
    text = written(tmp_path)
    assert b"[holdfast: " in text
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= min(2 * PIECE, BURST + 3 * RATE)
    lines = text.split(b"\n")
    for line, following in itertools.pairwise(lines[1:-1]):
        whole = len(line) == 999 or line.startswith(b"[holdfast: ")
        assert whole or following.startswith(b"[holdfast: "), "only the line before a gap may be cut"


def test_lines_dropped_and_lines_written_are_all_the_lines(tmp_path, clock):
    log = LogFile(str(tmp_path), 1, clock=clock)
    log._budget = 300_000.0
    said = 0
    for _ in range(40):
        feed(log, b"".join(b"line %d\n" % (said + n) for n in range(5000)))
        said += 5000
        clock.now += 0.003
    clock.now += 5
    feed(log, b"last\n")
    log.close()
    text = written(tmp_path)
    assert text.endswith(b"lines dropped]\nlast\n")
    whole = text.count(b"\nline ") + text.startswith(b"line ")
    assert said - dropped(text) - whole in (0, -1, -2, -3), "a line of which a part was dropped counts as dropped"
    assert log.dropped == dropped(text)


def test_a_gap_is_told_though_the_engine_goes_quiet(tmp_path, clock):
    log = LogFile(str(tmp_path), 1, clock=clock)
    log._budget = 10.0
    feed(log, b"one\ntwo\nthree\n")
    assert log.lossy
    clock.now += 1
    log.settle()
    assert not log.lossy
    assert written(tmp_path) == b"[holdfast: 3 lines dropped]\n"


def test_a_later_keeper_goes_on_where_the_first_was_killed(tmp_path, clock):
    feed(LogFile(str(tmp_path), 1, clock=clock), b"one\ntw")
    log = LogFile(str(tmp_path), 1, clock=clock, again=True)
    feed(log, b"o\n")
    log.close()
    assert written(tmp_path) == b"one\ntwo\n"


def test_five_runs_are_kept_and_the_first_failure_beyond_them(tmp_path, clock):
    for run in range(1, 12):
        LogFile(str(tmp_path), run, clock=clock).close()
        if run == 2:
            mark_first_failure(str(tmp_path), run)
    assert [run for run, _ in logfile.pieces(str(tmp_path))] == [2, 7, 8, 9, 10, 11]
    mark_first_failure(str(tmp_path), 9)
    assert first_failure(str(tmp_path)) == 9
    LogFile(str(tmp_path), 12, clock=clock).close()
    assert [run for run, _ in logfile.pieces(str(tmp_path))] == [8, 9, 10, 11, 12]


def test_a_directory_that_is_gone_drops_and_counts(tmp_path, clock):
    directory = tmp_path / "gone" / "chat.0"
    log = LogFile(str(directory), 1, clock=clock)
    feed(log, b"one\ntwo\n")
    (tmp_path / "gone").mkdir()
    clock.now += 1
    feed(log, b"three\n")
    log.close()
    assert written(directory) == b"[holdfast: 2 lines dropped]\nthree\n"


def test_a_write_that_fails_in_the_middle_is_told_and_gone_on_from(tmp_path, clock):
    """A limit on the size of files fails as a full disk does: a part is written, then nothing."""
    script = (
        "import resource, signal, sys\n"
        "from reconciler.act.logfile import LogFile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "now = [0.0]\n"
        "log = LogFile(sys.argv[1], 1, clock=lambda: now[0])\n"
        "def feed(data): log.feed(bytearray(data), len(data))\n"
        "feed(b'whole\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "feed(b'cut off\\nlost\\n')\n"
        "feed(b'lost too\\nin the mid')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
        "now[0] = 0.5\n"
        "log.settle()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "now[0] = 1.0\n"
        "feed(b'dle\\nagain\\n')\n"
        "log.close()\n"
        "print(log.dropped)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=root, check=True, capture_output=True, timeout=60
    )
    assert written(tmp_path) == b"whole\ncut \n[holdfast: 4 lines dropped]\nagain\n"
    assert done.stdout == b"4\n"


PYDANTIC = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Sleep mode is not supported on current platform. [type=value_error]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
VLLM = [
    "(Worker pid=22) ERROR 11-21 06:33:44 [multiproc_executor.py:1063] ValueError: Available memory on node 0 is less",
    "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root "
    "cause.",
    *["  File core_client.py, line 167, in make_async_mp_client"] * 100,
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("one\ntwo\n\n", "two"),
        (PYDANTIC, "Value error, Sleep mode is not supported on current platform. [type=value_error]"),
        ("\n".join(VLLM), VLLM[0]),
        ("\n".join(VLLM[1:]), VLLM[-1]),
        ("", ""),
    ],
)
def test_its_last_words_are_the_last_line_or_the_error_that_it_points_to(tmp_path, clock, said, words):
    log = LogFile(str(tmp_path), 1, clock=clock)
    feed(log, said.encode())
    assert log.last_words(()) == words
    assert log.last_words(("memory on",)) == words.replace("memory on", "***")
