"""What a person types, and what they read: every verb against the real API."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from reconciler.cli.parser import _VERBS, _parser, parse
from reconciler.model.source import Problem
from reconciler.model.status import Condition, Reason
from tests.api.daemon import GPUS, event, status, workload
from tests.eventually import eventually

pytestmark = pytest.mark.usefixtures("soon")
PROBLEM = Problem(path="fleet.d/x.yaml", line=7, column=3, key="priority", message="cannot be 5000; choose 0–1000")
STARTING = workload("code", ready=0, reason=Reason.Starting, why="code/0 loading")


def test_status_of_a_fleet_that_is_well(run):
    done = run("status")
    assert done.status == 0
    assert done.out.splitlines()[0] == "/srv/fleet.d @ 3f2a9c1 on box1 · 1 of 1 ready"
    assert re.search(r"chat +● ready +1/1 +llamacpp +0 +9000", done.out)
    assert done.err == ""


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (status(workload("chat"), STARTING), 3),
        (status(workload("chat"), replace(STARTING, paused=True)), 0),
        (status(workload("chat"), problems=(PROBLEM,)), 3),
        (status(), 0),
    ],
    ids=["one is not ready", "one is paused", "a file is broken", "nothing is declared"],
)
def test_the_exit_status_tells_whether_all_is_well(run, recorder, now, expected):
    recorder.now = now
    assert run("status").status == expected
    assert run("status", "--json").status == expected


def test_status_says_why_something_is_not_ready(run, recorder):
    recorder.now = status(workload("chat"), STARTING)
    assert "    code/0 loading\n" in run("status").out


def test_status_of_one_has_every_instance_and_its_address(run, recorder):
    recorder.now = status(workload("chat", ready=2, wanted=2), STARTING)
    done = run("status", "chat")
    assert done.status == 0
    assert "chat/1 answers at http://127.0.0.1:9001 to chat, chat-alias" in done.out
    assert "code" not in done.out


def test_status_of_a_stranger_names_those_that_are_there(run):
    done = run("status", "cat")
    assert done == (1, "", "holdfast: cannot show cat: it is not in the fleet; chat is\n")


def test_status_as_json_is_the_whole_status(run, recorder):
    recorder.now = status(workload("chat"), gpus=GPUS)
    found = json.loads(run("status", "--json").out)
    assert found["workloads"]["chat"]["endpoints"][0]["address"] == "http://127.0.0.1:9000"
    assert found["gpus"][0]["memory"] == GPUS[0].memory


def test_no_escape_of_an_engine_reaches_the_terminal(run, recorder):
    evil = "\x1b]0;owned\x07\x1b[2Jboom\u202e"
    recorder.now = status(workload("chat", ready=0, why=evil), degraded=(evil,))
    recorder.log_pieces = [b"\x1b[3", b"1mred\x1b[0m\x9b\xff\n", b"\x1b]52;c;eA=", b"=\x07no newline"]
    recorder.events.kept = [event(1, message=evil)]
    for words in (["status"], ["status", "chat"], ["logs", "chat"], ["events"], ["apply", "--wait", "0.1"]):
        done = run(*words)
        for text in (done.out, done.err):
            assert "\x1b" not in text
            assert "\u202e" not in text
    assert run("logs", "chat").out == "red\ufffd\ufffd\nno newline\n"


def test_raw_logs_are_as_they_were_written(recorder, capfdbinary, socket):
    from reconciler.cli import main

    recorder.log_pieces = [b"\x1b[31m\xff\n"]
    assert main(["logs", "chat", "--raw", "--socket", socket]) == 0
    assert capfdbinary.readouterr().out == b"\x1b[31m\xff\n"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["chat"], ("log", "chat", 0, None, 200, False)),
        (["chat/2", "--lines", "7"], ("log", "chat", 2, None, 7, False)),
        (["chat", "--run", "4"], ("log", "chat", 0, 4, 200, False)),
        (["chat", "--run", "first"], ("log", "chat", 0, "first-failure", 200, False)),
    ],
)
def test_logs_of_any_run(run, recorder, words, asked):
    done = run("logs", *words)
    assert (done.status, done.out) == (0, "one\ntwo\n")
    assert recorder.asked[-1] == asked


def test_without_an_index_the_log_is_that_of_the_instance_in_trouble(run, recorder):
    row = workload("chat", ready=2, wanted=2)
    recorder.now = status(row)
    assert run("logs", "chat").err == ""
    assert recorder.asked[-1] == ("log", "chat", 0, None, 200, False)
    recorder.now = status(replace(row, replicas=(row.replicas[0], replace(row.replicas[1], state="exited"))))
    assert run("logs", "chat").err == "this is the log of chat/1; write chat/0 for that of the first\n"
    assert recorder.asked[-1] == ("log", "chat", 1, None, 200, False)
    assert run("logs", "chat/0").err == ""
    assert recorder.asked[-1] == ("log", "chat", 0, None, 200, False)


def test_without_an_index_the_first_failure_is_that_of_the_instance_that_has_one(run, recorder):
    recorder.runs = tuple(replace(one, slot="chat/1") for one in recorder.runs)
    run("logs", "chat", "--run", "first")
    assert recorder.asked[-1] == ("log", "chat", 1, "first-failure", 200, False)


def test_logs_of_a_stranger_name_those_that_are_there(run, recorder):
    recorder.known = {"chat"}
    assert run("logs", "cat") == (1, "", "holdfast: cannot find cat in the fleet; there are chat\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hepl"], "unrecognized arguments: --hepl"),
        (["tiu"], "argument VERB: invalid choice: 'tiu'; did you mean tui?"),
        (["key", "nwe"], "argument VERB: invalid choice: 'nwe'; did you mean new?"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_what_is_mistyped_is_named_with_what_was_meant(capsys, words, said):
    with pytest.raises(SystemExit):
        parse(words)
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["restart", "chat"], ("restart", "chat", None)),
        (["restart", "chat/3"], ("restart", "chat", 3)),
        (["stop", "chat"], ("stop", "chat")),
        (["pause", "chat"], ("pause", "chat")),
        (["resume", "chat"], ("resume", "chat")),
        (["scale", "chat", "3"], ("scale", "chat", 3)),
        (["scale", "chat", "auto"], ("scale", "chat", None)),
    ],
    ids=[0, 1, 2, 3, 4, 5, 6],
)
def test_a_request_prints_the_daemon_s_sentence(run, recorder, words, asked):
    done = run(*words)
    assert done == (0, f"chat: will do {words[0]}\n", "")
    assert recorder.asked == [asked]


def test_without_a_name_the_whole_fleet_is_paused_and_resumed(run, recorder):
    assert run("pause") == (0, "the fleet: will do pause\n", "")
    assert run("resume") == (0, "the fleet: will do resume\n", "")
    assert recorder.asked == [("pause", None), ("resume", None)]


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_nothing_is_stopped_or_restarted_without_a_name(run, recorder, verb):
    assert run(verb).status == 2
    assert recorder.asked == []


HELD = replace(
    workload("code", ready=0),
    conditions=(
        Condition(type="Ready", status="False", reason=Reason.Paused, message="held back: start code/0"),
        Condition(type="Reconciling", status="False", reason=Reason.Converged),
        Condition(type="Stalled", status="True", reason=Reason.Paused, message="held back: start code/0"),
    ),
)
PAUSED = "the fleet is paused by command: 1 action is held back; `holdfast resume` goes on"


def test_status_of_a_paused_fleet_says_so_first(run, recorder):
    recorder.now = status(workload("chat"), HELD, paused=PAUSED, converged=False)
    done = run("status")
    assert done.out.splitlines()[1] == f"‖ {PAUSED}"
    assert re.search(r"code +‖ paused +0/1", done.out)
    assert "    held back: start code/0\n" in done.out
    assert done.status == 3
    assert run("top", "--once").out.startswith(f"‖ {PAUSED}\n")
    assert json.loads(run("status", "code", "--json").out)["paused"] == PAUSED
    assert run("doctor").out.count(f"warn  daemon: {PAUSED}\n      holdfast resume\n") == 1


def test_waiting_for_a_paused_fleet_ends_with_what_to_do(run, recorder):
    recorder.now = status(workload("chat"), HELD, paused=PAUSED, converged=False)
    assert run("apply", "--wait", "30s") == (1, "looks again now\n", f"holdfast: cannot converge: {PAUSED}\n")


def test_a_paused_fleet_with_nothing_to_do_has_converged(run, recorder):
    recorder.now = status(workload("chat"), paused=PAUSED)
    assert run("apply", "--wait", "30s") == (0, "looks again now\nconverged\n", "")


def test_a_paused_fleet_is_waited_for_while_something_is_on_its_way(run, recorder):
    recorder.now = status(STARTING, paused=PAUSED, converged=False)
    assert "cannot converge within 1 s: code is starting" in run("apply", "--wait", "1s").err


def test_a_refusal_is_one_line_with_the_daemon_s_words(run, recorder):
    recorder.known = frozenset({"chat"})
    assert run("stop", "cat") == (1, "", "holdfast: no workload cat in the fleet\n")


@pytest.mark.parametrize(
    "words",
    [
        ["scale", "chat", "many"],
        ["scale", "chat", "1001"],
        ["logs", "chat", "--run", "0"],
        ["logs", "chat", "--lines", "-1"],
        ["events", "--since", "x"],
        ["apply", "--wait", "soon"],
        ["frobnicate"],
        ["stat"],
        [],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_usage(run, recorder, words):
    done = run(*words)
    assert done.status == 2
    assert "usage: holdfast" in done.err
    assert recorder.asked == []


def test_an_index_that_is_none_is_refused(run, recorder):
    assert "NAME/INDEX" in run("restart", "chat/x").err
    assert recorder.asked == []


def test_apply_asks_once_and_says_so(run, recorder):
    assert run("apply") == (0, "looks again now\n", "")
    assert run("apply", "--prune").status == 0
    assert recorder.asked == [("apply", False), ("apply", True)]


def test_apply_waits_until_all_is_as_declared(run, recorder, soon):
    recorder.now = status(STARTING, converged=False)
    recorder.on_ask = lambda _: threading.Timer(0.5, lambda: soon(lambda: recorder.publish(status()))).start()
    assert run("apply", "--wait", "30s") == (0, "looks again now\nconverged\n", "")


def test_one_look_that_finds_all_well_may_be_of_before(run, recorder):
    """The pass that was asked for may not have been made when the first answer comes."""
    before, after = status(), status(STARTING, converged=False)
    answers = iter([before, before, after, after])
    looks: list[bool] = []

    def look():
        found = next(answers, before)
        looks.append(found.converged)
        return found

    recorder.status = look
    assert run("apply", "--wait", "30s").out.endswith("converged\n")
    assert looks == [True, True, False, False, True, True, True]


def test_apply_says_what_is_missing_when_the_time_is_up(run, recorder):
    recorder.now = status(STARTING, converged=False, problems=(PROBLEM,))
    done = run("apply", "--wait", "300ms")
    assert done.status == 1
    assert done.err == (
        "holdfast: cannot converge within 0.3 s: code is starting (code/0 loading); "
        "fleet.d/x.yaml:7:3: priority: cannot be 5000; choose 0–1000\n"
    )


def test_events_are_the_newest_or_those_since(run, recorder):
    recorder.events.kept = [event(number) for number in range(1, 80)]
    assert len(run("events").out.splitlines()) == 50
    lines = run("events", "--since", "75").out.splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("  chat/0       Exited: exited with status 1")
    found = [json.loads(line) for line in run("events", "--since", "77", "--json").out.splitlines()]
    assert [one["seq"] for one in found] == [78, 79]
    assert run("events", "nobody").out == ""


def test_options_may_stand_before_the_verb(socket):
    assert parse(["--socket", socket, "status"]).socket == socket
    assert parse(["--socket", "/a", "status", "--socket", socket]).socket == socket


# In processes of their own: what only the whole program can show.


def command(*words: str, socket: str) -> list[str]:
    return [sys.executable, "-m", "reconciler.cli", *words, "--socket", socket]


def test_ctrl_c_ends_a_stream_quietly(recorder, socket, environment):
    process = subprocess.Popen(
        command("logs", "chat", "-f", socket=socket), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")


def test_a_reader_that_has_had_enough_is_no_error(recorder, socket, environment):
    recorder.log_pieces = [b"x" * 100 + b"\n"] * 20_000
    process = subprocess.Popen(
        command("logs", "chat", socket=socket), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141


def test_a_watch_that_is_no_terminal_prints_each_change(recorder, soon, socket, environment):
    process = subprocess.Popen(
        command("status", "--watch", socket=socket), env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "1 of 1 ready" in process.stdout.readline()
        soon(lambda: recorder.publish(status(workload("chat"), STARTING)))
        out = process.stdout
        eventually(lambda: "1 of 2 ready" in out.readline())
    finally:
        process.kill()
        process.communicate()


def test_a_terminal_is_drawn_on_in_place_and_in_colour(recorder, socket, environment):
    import pty

    environment.pop("NO_COLOR")
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        command("status", "--watch", socket=socket), env=environment | {"TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while shown.count(b"of 1 ready") < 3:
            shown += os.read(mine, 65536)
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert b"\x1b[32m\xe2\x97\x8f ready\x1b[0m" in shown
    assert b"\x1b[4A\r" in shown


@pytest.mark.parametrize("verb", [entry[0] for entry in _VERBS])
def test_a_verb_is_understood_alone_as_among_all(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that were not typed are not made: that takes as long as a short command."""
    told: list[str] = []
    for parser in (_parser(verb.split(maxsplit=1)[0]), _parser()):
        with pytest.raises(SystemExit):
            parser.parse_args([*verb.split(), "--help"])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
