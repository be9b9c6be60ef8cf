"""A record of each request, in a chain: what it holds, and that neither clients nor disks stop the next one."""

import pytest

from reconciler.chain import Broken, Line, read
from reconciler.gateway.trail import Trail
from tests.eventually import eventually
from tests.gateway.records import record

AT = 1_800_000_000.0


def kept(path) -> list[dict]:
    """The records of a file that nobody changed."""
    with open(path, "rb") as file:
        found = list(read(file))
    assert not [one for one in found if isinstance(one, Broken)]
    return [dict(one.record) for one in found if isinstance(one, Line)]


def test_a_record_says_who_asked_what_and_what_came_of_it(tmp_path):
    path = tmp_path / "requests-1.log"
    trail = Trail(str(path))
    trail.add(record(asked="small", status=200), AT + 0.1234567)
    trail.add(record(status=0, reason="client_left", written=0), AT)
    trail.close(10.0)
    first, second = kept(path)
    assert first == {
        "at": AT + 0.123,
        "id": "req-1",
        "key": "team",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "asked": "small",
        "model": "chat",
        "slot": "chat/0",
        "status": 200,
        "reason": "",
        "read": 12,
        "written": 40,
    }
    assert (second["status"], second["reason"], second["written"]) == (0, "client_left", 0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_next_worker_goes_on_where_the_last_ended(tmp_path):
    path = tmp_path / "requests-1.log"
    for number in range(3):
        trail = Trail(str(path))
        trail.add(record(request_id=str(number)), AT)
        trail.close(10.0)
    assert [one["id"] for one in kept(path)] == ["0", "1", "2"]


@pytest.mark.parametrize("evil", ["\ud800", "x\n{", "\x9b2J", "m" * 10_000], ids=ascii)
def test_nothing_that_a_client_makes_up_keeps_a_record_from_being_written(tmp_path, evil):
    path = tmp_path / "requests-1.log"
    trail = Trail(str(path))
    trail.add(record(asked=evil, path=evil, request_id=evil, method=evil), AT)
    trail.add(record(), AT)
    trail.close(10.0)
    first, second = kept(path)
    assert str(first["asked"]).isascii()
    assert len(str(first["asked"])) <= 512
    assert second["asked"] == "chat"
    assert trail.lost == 0


def test_what_cannot_be_kept_is_counted_and_told_once_it_can(tmp_path):
    path = tmp_path / "there" / "requests-1.log"
    trail = Trail(str(path))
    trail.add(record(request_id="lost"), AT)
    eventually(lambda: trail.lost, what="it cannot be written")
    path.parent.mkdir()
    trail.add(record(request_id="kept"), AT)
    eventually(lambda: path.exists() and len(kept(path)) == 2, what="it is kept")
    trail.add(record(request_id="next"), AT)
    trail.close(10.0)
    found = kept(path)
    lost = trail.lost
    assert lost >= 1
    assert found[0] == {"at": AT, "lost": lost}
    assert [one.get("id") for one in found[1:]] == ["kept", "next"]
