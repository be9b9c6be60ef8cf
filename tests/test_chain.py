"""A chain shows what was changed in it, goes on after a crash, and takes nothing for written that is not."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.chain import BEGINNING, Broken, Chain, Head, Line, read

RECORDS = [{"verb": verb, "subject": "chat"} for verb in ("stop", "resume", "scale", "restart", 'ärger \n "x"')]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "audit.log"


def written(path: Path, records=RECORDS) -> Head:
    chain = Chain(str(path))
    for record in records:
        chain.append([record])
    chain.close()
    return chain.head


def found(path: Path, before: Head | None = BEGINNING) -> list[Any]:
    with path.open("rb") as file:
        return list(read(file, before))


def records(path: Path) -> list:
    return [one.record if isinstance(one, Line) else one for one in found(path)]


def test_what_is_written_is_read_again_in_order_by_its_owner_alone(path) -> None:
    head = written(path)
    assert records(path) == RECORDS
    assert found(path)[-1].head == head == Head(5, head.hash)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_what_looks_like_the_end_of_a_record_is_none_and_of_no_records_there_is_no_line(path) -> None:
    chain = Chain(str(path))
    many = [{"said": "}\n{", "also": {"deep": ["}", "{"]}}, {"said": "}\u2028{\r\n\x85\x00"}, {"ünï": "}\n{"}]
    assert chain.append([]) == BEGINNING
    assert chain.append(many) == Head(3, chain.head.hash)
    assert records(path) == many


def test_each_line_is_the_hash_of_what_stands_before_it(path) -> None:
    """As it has always been: files of earlier versions are gone on with, and theirs read ours."""
    first = Chain(str(path)).append([{"verb": "stop", "subject": "ä", "n": 1}])
    said = '{"seq":1,"verb":"stop","subject":"ä","n":1,"prev":"' + "0" * 64 + '"'
    assert first == Head(1, hashlib.sha256(said.encode()).hexdigest())
    assert path.read_text() == f'{said},"hash":"{first.hash}"}}\n'


def test_it_goes_on_where_the_last_process_ended(path) -> None:
    first = written(path)
    chain = Chain(str(path))
    assert chain.head == first
    assert chain.append(RECORDS[:2]).seq == 7
    assert records(path) == RECORDS + RECORDS[:2]


@given(st.data())
def test_whatever_is_changed_the_first_bad_line_is_named(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("chain") / "log"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(("byte", "gone", "twice", "swapped", "cut")))
    if kind == "byte":
        where = data.draw(st.integers(0, len(lines[at]) - 1))
        other = data.draw(st.integers(0, 255).filter(lambda one: one != lines[at][where]))
        lines[at] = lines[at][:where] + bytes([other]) + lines[at][where + 1 :]
    elif kind == "gone":
        at = data.draw(st.integers(0, len(lines) - 2))  # the last: see the heads that are elsewhere
        del lines[at]
    elif kind == "twice":
        lines.insert(at + 1, lines[at])
        at += 1
    elif kind == "swapped":
        at = data.draw(st.integers(0, len(lines) - 2))
        lines[at : at + 2] = lines[at + 1], lines[at]
    else:
        lines[at] = lines[at][: data.draw(st.integers(1, len(lines[at]) - 1))]
    path.write_bytes(b"".join(lines))
    result = found(path)
    assert isinstance(result[-1], Broken)
    assert result[-1].line == at + 1
    assert [one.record for one in result[:-1] if isinstance(one, Line)] == RECORDS[:at]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lines: [lines[0].replace(b"stop", b"stap"), *lines[1:]], "it was changed"),
        (lambda lines: lines[1:], "its number is 2, and those before are gone"),
        (lambda lines: [*lines[:1], *lines[3:]], "its number is 4, and it follows 1: lines between them are gone"),
        (lambda lines: [*lines[:2], lines[2][:-1]], "it is not whole"),
        (lambda lines: [*lines[:2], b"{}\n"], "it was changed"),
    ],
)
def test_what_is_wrong_is_told_in_words(path, change, why) -> None:
    written(path)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert found(path)[-1].why == why


def test_a_line_of_another_chain_does_not_follow(path, tmp_path) -> None:
    written(path)
    written(tmp_path / "other", [{"verb": "scale"}, *RECORDS[1:]])
    ours = path.read_bytes().splitlines(keepends=True)
    theirs = (tmp_path / "other").read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(ours[:2] + theirs[2:]))
    assert found(path)[-1] == Broken(3, "it does not follow from the line before it")


def test_what_a_crash_left_of_a_line_is_cut_off_and_the_chain_goes_on(path) -> None:
    written(path)
    with path.open("ab") as file:
        file.write(b'{"seq":6,"verb":"st')
    chain = Chain(str(path))
    assert chain.trouble is None
    chain.append(RECORDS[:1])
    assert records(path) == RECORDS + RECORDS[:1]
    path.write_bytes(b'{"seq":1')
    assert Chain(str(path)).append(RECORDS[:1]).seq == 1
    assert records(path) == RECORDS[:1]


def test_a_bad_end_is_set_aside_never_deleted_and_a_new_chain_begins(path) -> None:
    for number in (1, 2):
        written(path)
        path.write_bytes(path.read_bytes()[:-20] + b"xxxxxxxxxxxxxxxxxxx\n")
        spoilt = path.read_bytes()
        chain = Chain(str(path))
        aside = path.with_name(f"audit.log.broken-{number}")
        assert chain.trouble == (
            f"{path}: its last line is bad: it was changed; it was set aside as {aside.name}, and a new one begun"
        )
        assert chain.append(RECORDS[:1]).seq == 1
        assert aside.read_bytes() == spoilt
        path.unlink()


@pytest.mark.parametrize("empty", [False, True])
def test_a_file_that_is_moved_away_is_gone_on_with_in_a_new_one(path, empty) -> None:
    chain = Chain(str(path))
    chain.append(RECORDS[:3])
    path.rename(path.with_name("audit.log.1"))
    if empty:
        path.touch(mode=0o600)
    chain.append(RECORDS[3:])
    older = found(path.with_name("audit.log.1"))
    assert [one.record for one in [*older, *found(path, older[-1].head)]] == RECORDS
    assert found(path, None)[-1].head == chain.head
    assert found(path)[0] == Broken(1, "its number is 4, and those before are gone")


def test_what_does_not_fit_on_the_disk_does_not_count_and_later_lines_do(path) -> None:
    """In a process that may not write beyond some bytes: the kernel takes a part of the line."""
    code = (
        "import signal, sys; from reconciler.chain import Chain\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import resource\n"
        "chain = Chain(sys.argv[1]); chain.append([{'n': 1}])\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, hard))\n"
        "try:\n    chain.append([{'n': 2}, {'n': 'x' * 900}])\n"
        "except OSError as error:\n    print('refused')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "print(chain.append([{'n': 3}]).seq)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused", "2"]
    assert records(path) == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_only_a_file_is_written_to(path, tmp_path, kind) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=str(path)):
        Chain(str(path))
    assert len(os.listdir("/proc/self/fd")) == before
    assert not (tmp_path / "elsewhere").exists()


def test_it_is_on_disk_before_it_counts(path, tmp_path) -> None:
    """As the kernel sees it: the sync comes after the write, and before anything is told."""
    strace = tmp_path / "trace"
    code = (
        "import os, sys; from reconciler.chain import Chain\n"
        "chain = Chain(sys.argv[1]); os.write(1, b'begin'); chain.append([{'n': 1}]); os.write(1, b'told')"
    )
    if shutil.which("strace") is None:
        pytest.skip("no strace here")
    command = ["strace", "-f", "-e", "trace=write,fdatasync", "-o", str(strace), sys.executable, "-c", code, str(path)]
    subprocess.run(command, capture_output=True, check=True)
    calls = strace.read_text().partition('"begin"')[2]
    assert 0 < calls.find('{\\"seq\\":1') < calls.find("fdatasync(") < calls.find('"told"')
