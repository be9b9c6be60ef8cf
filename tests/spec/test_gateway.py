"""What files say of the gateway: what is refused and why, who clashes with whom, what hangs on whom."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.model.gateway import is_loopback
from tests.spec.place import Place, both, model, problems, read, service

ONE, OTHER = "a" * 64, "b" * 64


def access(name: str, *hashes: str, more: str = "") -> str:
    return f"kind: Access\nname: {name}\nkeys: [{', '.join(f'{{sha256: {one}}}' for one in hashes)}]\n{more}"


def route(name: str, more: str) -> str:
    return f"kind: Route\nname: {name}\n{more}\n"


def node(listen: str) -> str:
    return f"kind: Node\nname: local\ngateway: {{listen: [{listen}]}}\n"


def told(text: str) -> list[str]:
    return [str(problem).removeprefix("f.yaml:") for problem in read(text.encode(), "f.yaml").problems]


SHOWN = "write http://IP:port or https://IP:port, such as http://127.0.0.1:8642"
DATE = "write a date such as 2027-01-31, or a time with its offset such as 2027-01-31T18:00:00Z"
REFUSED = {
    "3:20: gateway.listen.0: cannot be 'localhost:80'; " + SHOWN: node("'localhost:80'"),
    "3:20: gateway.listen.0: cannot be '127.0.0.1'; " + SHOWN: node("127.0.0.1"),
    "3:20: gateway.listen.0: cannot be '127.0.0.1:0'; " + SHOWN: node("'127.0.0.1:0'"),
    "3:20: gateway.listen.0: cannot be '127.0.0.1:65536'; " + SHOWN: node("'127.0.0.1:65536'"),
    "3:20: gateway.listen.0: cannot be 'ftp://127.0.0.1:80'; " + SHOWN: node("'ftp://127.0.0.1:80'"),
    "3:20: gateway.listen.0: cannot be '::1:80'; " + SHOWN: node("'::1:80'"),
    "3:20: gateway.listen.0: cannot be '[127.0.0.1]:80'; write http://IP:port, an IPv6 address in brackets, such as "
    "http://[::1]:8642": node("'[127.0.0.1]:80'"),
    "3:19: gateway.listen: cannot listen on 127.0.0.1:80 twice; remove one of them": node(
        "'127.0.0.1:80', 'https://127.0.0.1:80'"
    ),
    "3:17: keys.0.sha256: cannot be 'secret'; write the hash that `holdfast key new` prints: 64 digits, 0–9 and "
    "a–f": "kind: Access\nname: a\nkeys: [{sha256: secret}]\n",
    "3:7: keys: cannot hold aaaaaaaa… twice; remove one of them": access("a", ONE, ONE),
    "5:14: keys.0.expires: cannot be '2027-01-31T18:00'; " + DATE: "kind: Access\nname: a\nkeys:\n  - sha256: "
    f"{ONE}\n    expires: 2027-01-31T18:00\n",
    "5:14: keys.0.expires: cannot be '2027-02-30'; " + DATE: "kind: Access\nname: a\nkeys:\n  - sha256: "
    f"{ONE}\n    expires: 2027-02-30\n",
    "4:9: roles.0: cannot be 'root'; write inference, metrics or admin": access("a", ONE, more="roles: [root]\n"),
    "1:1: hosts: cannot be left out where there is no prefix; give hosts, prefix or both": route("a", "models: [x]"),
    "3:9: hosts.0: cannot be 'a_b'; write a domain name in lower case, such as llm.example.org or *.example.org": route(
        "a", "hosts: [a_b]"
    ),
    "3:9: prefix: cannot be '/a/../b'; begin it with /, end it without one, and use letters, digits, '-', '_', '.' "
    "and '~'": route("a", "prefix: /a/../b"),
    "4:31: limits.requests_per_minute: cannot be 0; choose 1 or more": model("a", limits="{requests_per_minute: 0}"),
}


@pytest.mark.parametrize(("message", "text"), REFUSED.items())
def test_a_mistake_is_told_once_with_what_to_do(message: str, text: str) -> None:
    assert told(text) == [message]


def test_addresses_are_written_one_way(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"n.yaml": node("'127.0.0.1:080', 'https://[0:0::1]:443'")})
    assert place.loaded.fleet.nodes["local"].gateway.listen == ("http://127.0.0.1:80", "https://[::1]:443")


@pytest.mark.parametrize(
    ("address", "ours"),
    [("http://127.9.9.9:1", True), ("http://[::1]:1", True), ("http://0.0.0.0:1", False), ("http://[::]:1", False)],
)
def test_loopback_is_what_only_this_machine_can_reach(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours


@pytest.mark.parametrize(
    ("written", "until"),
    [
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00:00+02:00", datetime(2027, 1, 31, 16, tzinfo=UTC)),
    ],
)
def test_a_day_is_good_until_it_ends(written: str, until: datetime, tmp_path: Path) -> None:
    text = f"kind: Access\nname: a\nkeys: [{{sha256: {ONE}, expires: '{written}'}}]\n"
    [key] = Place(tmp_path / "f", {"a.yaml": text}).loaded.fleet.access["a"].keys
    assert key.expires == until


def test_who_may_ask_and_where_is_of_the_fleet_and_runs_nowhere(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": both(access("chat", ONE), route("chat", "prefix: /x"), model("chat"))})
    fleet = place.loaded.fleet
    assert (list(fleet.access), list(fleet.routes), list(fleet.workloads)) == (["chat"], ["chat"], ["chat"])
    before = fleet.workloads
    place.write("a.yaml", both(access("chat", OTHER), route("chat", "prefix: /y"), model("chat")))
    fleet = place.look()
    assert (fleet.access["chat"].keys[0].sha256, fleet.routes["chat"].prefix) == (OTHER, "/y")
    assert fleet.workloads is before
    place.remove("a.yaml")
    place.write("b.yaml", service("s"))
    place.look()
    assert (dict(place.wait(2).access), dict(place.wait(2).routes)) == ({}, {})


def test_a_broken_access_keeps_its_last_good_version(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": access("a", ONE), "r.yaml": route("r", "prefix: /x")})
    place.write("a.yaml", access("a"))
    place.write("r.yaml", route("r", "prefix: y"))
    place.look()
    fleet = place.wait(2)
    assert (fleet.access["a"].keys[0].sha256, fleet.routes["r"].prefix) == (ONE, "/x")
    assert [problem.key for problem in fleet.problems] == ["keys", "prefix"]


def test_one_key_in_two_access_blocks_both_and_names_both(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": access("a", OTHER, ONE), "b.yaml": access("b", ONE)})
    assert dict(place.loaded.fleet.access) == {}
    advice = "has it too; remove it from one of them"
    assert problems(place.loaded.fleet) == [
        f"f/a.yaml:3:84: keys.1: cannot have this key: b (f/b.yaml:2) {advice}",
        f"f/b.yaml:3:8: keys.0: cannot have this key: a (f/a.yaml:2) {advice}",
    ]
    place.write("b.yaml", access("b", "c" * 64))
    fleet = place.look("b.yaml")
    assert (sorted(fleet.access), problems(fleet)) == (["a", "b"], [])


def test_two_routes_for_one_place_block_both_and_name_both(tmp_path: Path) -> None:
    place = Place(
        tmp_path / "f",
        {
            "a.yaml": route("a", "hosts: [llm.example.org, b.org]\nprefix: /x"),
            "b.yaml": route("b", "hosts: [llm.example.org]\nprefix: /x"),
            "c.yaml": route("c", "hosts: [llm.example.org]\nprefix: /y"),
            "d.yaml": route("d", "prefix: /x"),
        },
    )
    assert sorted(place.loaded.fleet.routes) == ["c", "d"]
    advice = "is for it too; choose another host or prefix for one of them"
    assert problems(place.loaded.fleet) == [
        f"f/a.yaml:3:8: hosts: cannot be for llm.example.org/x: b (f/b.yaml:2) {advice}",
        f"f/b.yaml:3:8: hosts: cannot be for llm.example.org/x: a (f/a.yaml:2) {advice}",
    ]
    place.write("b.yaml", route("b", "prefix: /x"))
    assert problems(place.look("b.yaml")) == [
        f"f/b.yaml:3:9: prefix: cannot be for every host/x: d (f/d.yaml:2) {advice}",
        f"f/d.yaml:3:9: prefix: cannot be for every host/x: b (f/b.yaml:2) {advice}",
    ]


def test_a_fallback_is_another_model_of_the_fleet(tmp_path: Path) -> None:
    place = Place(
        tmp_path / "f",
        {
            "a.yaml": model("a", fallback="[small, a, web, b]"),
            "b.yaml": model("b", aliases="[small]"),
            "c.yaml": service("web"),
        },
    )
    advice = "name another model"
    assert problems(place.loaded.fleet) == [
        f"f/a.yaml:4:12: fallback.0: cannot be 'small': no model of that name is declared; {advice}",
        f"f/a.yaml:4:19: fallback.1: cannot be 'a': it would answer in its own place; {advice}",
        f"f/a.yaml:4:22: fallback.2: cannot be 'web': no model of that name is declared; {advice}",
    ]
    assert sorted(place.loaded.fleet.workloads) == ["b", "web"]


def test_a_fallback_follows_the_model_that_it_names(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": model("a", fallback="[b]"), "x.yaml": model("x")})
    assert sorted(place.loaded.fleet.workloads) == ["x"]
    place.write("b.yaml", model("b"))
    fleet = place.look("b.yaml")
    assert (sorted(fleet.workloads), problems(fleet)) == (["a", "b", "x"], [])
    place.remove("b.yaml")
    place.look("b.yaml")
    fleet = place.wait(2)
    assert sorted(fleet.workloads) == ["a", "x"]  # its last good version
    assert [problem.names for problem in fleet.problems] == [("a",)]


def test_where_others_can_reach_it_there_must_be_an_access(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"n.yaml": node("'127.0.0.1:80', '0.0.0.0:80'"), "m.yaml": model("m")})
    assert dict(place.loaded.fleet.nodes) == {}
    assert problems(place.loaded.fleet) == [
        "f/n.yaml:3:36: gateway.listen.1: cannot listen on http://0.0.0.0:80, where others can reach it: no key is "
        "asked for; declare a kind: Access (`holdfast key new` makes a key), or listen on 127.0.0.1"
    ]
    place.write("a.yaml", access("a", ONE))
    fleet = place.look("a.yaml")
    assert (list(fleet.nodes), problems(fleet)) == (["local"], [])
    place.remove("a.yaml")
    place.look("a.yaml")
    fleet = place.wait(2)
    assert (list(fleet.nodes), len(fleet.problems)) == (["local"], 1)
