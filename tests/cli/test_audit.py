"""Who did what is printed, and whether anybody changed it since is told: against events too, which know its end."""

import json
from pathlib import Path

import pytest

from reconciler.chain import Chain
from reconciler.model.acts import Act
from reconciler.model.status import Event
from reconciler.plan.happenings import Happening
from reconciler.store.audit import Audit

ANN = Act(pid=42, uid=1000, user="ann", verb="scale", subject="chat", arguments={"replicas": 3})
BOB = Act(pid=43, uid=0, user="bob\x1b[2J", verb="apply", subject="daemon", arguments={"prune": True})


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "audit.log"


@pytest.fixture
def acted(path, recorder) -> Audit:
    """What a daemon recorded, and told as events."""

    def tell(one: Happening) -> None:
        recorder.events.kept.append(_numbered(one, len(recorder.events.kept) + 1))

    audit = Audit(str(path), tell, clock=lambda: 1.7e9)
    for act in (ANN, BOB):
        audit.ended(act, audit.asked(act), "it will be so")
    return audit


def _numbered(one: Happening, seq: int) -> Event:
    event = one.event(1.7e9)
    return Event(
        seq=seq,
        at=event.at,
        severity=event.severity,
        subject=event.subject,
        reason=event.reason,
        message=event.message,
    )


def test_each_act_is_a_line_and_its_outcome_the_next(run, acted):
    done = run("audit")
    assert (done.status, done.err) == (0, "")
    assert [line[28:] for line in done.out.splitlines()] == [
        "ann (pid 42) asked: scale chat, replicas 3",
        "  of 1: it will be so",
        "bob (pid 43) asked: apply, prune True",
        "  of 3: it will be so",
    ]
    assert [json.loads(line).get("verb") for line in run("audit", "--json").out.splitlines()] == [
        "scale",
        None,
        "apply",
        None,
    ]


def test_what_was_not_touched_is_told_to_be_whole_with_its_head(run, soon, acted, path):
    head = json.loads(path.read_text().splitlines()[-1])["hash"][:16]
    assert run("audit", "--verify") == (
        0,
        f"{path}: 4 lines, each follows from the one before; the last is 4:{head}; 2 events agree\n",
        "",
    )


def test_what_was_changed_is_told_with_its_line(run, soon, acted, path):
    path.write_text(path.read_text().replace("bob", "ann"))
    done = run("audit")
    assert (done.status, done.err) == (1, f"holdfast: {path}:3: it was changed\n")
    assert len(done.out.splitlines()) == 2
    assert run("audit", "--verify") == (1, "", f"holdfast: {path}:3: it was changed\n")


def test_an_end_that_was_cut_off_is_known_by_the_events(run, soon, acted, path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    done = run("audit", "--verify")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"holdfast: {path}: line 4 is missing: an event of 2023-11-1")


def test_a_chain_that_was_made_anew_is_known_by_the_events(run, soon, acted, path):
    path.unlink()
    forged = Audit(str(path), lambda _: None)
    for _ in range(2):
        forged.ended(ANN, forged.asked(ANN), "nothing happened")
    done = run("audit", "--verify")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"holdfast: {path}: line 2 is another: ")


def test_without_a_daemon_it_is_said_that_its_end_is_not_known(run, acted, path):
    done = run("audit", "--verify")
    assert done.status == 0
    assert "4 lines, each follows from the one before" in done.out
    assert "agree" not in done.out
    assert done.err.startswith(
        "holdfast: cannot compare with events, which would show that lines at the end are missing"
    )


def test_a_chain_that_the_daemon_set_aside_is_not_held_against_the_new_one(run, soon, acted, path, recorder):
    path.write_text(path.read_text().replace("so", "no"))

    def tell(one: Happening) -> None:
        recorder.events.kept.append(_numbered(one, len(recorder.events.kept) + 1))

    audit = Audit(str(path), tell)
    audit.ended(ANN, audit.asked(ANN), "it will be so")
    done = run("audit", "--verify")
    assert (done.status, done.err) == (0, "")
    assert done.out.endswith("; 1 event agrees\n")


def test_files_that_were_moved_away_are_given_before_it(run, soon, acted, path):
    older = path.with_name("audit.log.1")
    path.rename(older)
    acted.ended(ANN, acted.asked(ANN), "it will be so")
    assert run("audit", "--verify").err == f"holdfast: {path}:1: its number is 5, and those before are gone\n"
    done = run("audit", "--verify", str(older), str(path))
    assert (done.status, done.err) == (0, "")
    assert "6 lines" in done.out
    assert done.out.endswith("3 events agree\n")


def test_no_file_is_told(run, tmp_path):
    done = run("audit")
    assert done == (1, "", f"holdfast: cannot use {tmp_path}/state/audit.log: no such file or directory\n")


def test_requests_that_a_gateway_recorded_are_shown_and_checked_too(run, soon, acted, path):
    """Of them no event tells: those that there are tell of acts."""
    file = path.parent / "requests-1.log"
    asked = {
        "at": 1.7e9,
        "key": "team",
        "client": "10.0.0.7",
        "path": "/v1/messages",
        "asked": "cat\x1b[2J",
        "model": "",
    }
    asked |= {"status": 404, "reason": "model_not_found", "read": 0, "written": 0}
    chain = Chain(str(file))
    chain.append([{**asked, "key": "", "model": "chat", "status": 200, "reason": "", "read": 12, "written": 40}])
    chain.append([{"at": 1.7e9, "lost": 3}, asked])
    chain.close()
    done = run("audit", str(file))
    assert [line[28:] for line in done.out.splitlines()] == [
        "anybody (10.0.0.7) asked: chat, /v1/messages; 200; 12 tokens read, 40 written",
        "3 records of requests could not be kept",
        "team (10.0.0.7) asked: cat, /v1/messages; 404 model_not_found; 0 tokens read, 0 written",
    ]
    assert run("audit", "--verify", str(file)).status == 0
    file.write_bytes(file.read_bytes().replace(b"10.0.0.7", b"10.0.0.8"))
    assert run("audit", "--verify", str(file)).err.endswith("requests-1.log:1: it was changed\n")
    acts = path.parent / "acts.log"
    acts.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    chain = Chain(str(acts))
    chain.append([asked])
    chain.close()
    assert run("audit", "--verify", str(acts)).status == 1, "what stands in a file never spares it the comparison"
