"""Who is behind a key, and how a key is written."""

import hashlib
import random
import string

import pytest

from reconciler.gateway.access import LONGEST, Keys, barred
from reconciler.gateway.key import LENGTH, new_key, shape
from reconciler.gateway.refusal import Refusal
from reconciler.model.routing import AccessKey, Grant


def granted(name: str, *keys: str, expires: float | None = None, models: tuple[str, ...] = ("*",)) -> Grant:
    hashes = tuple(AccessKey(sha256=hashlib.sha256(key.encode()).hexdigest(), expires=expires) for key in keys)
    return Grant(name=name, keys=hashes, models=models)


def test_a_key_leads_to_its_grant_and_no_other_key_does() -> None:
    one, two, other = new_key(), new_key(), new_key()
    keys = Keys((granted("a", one, two), granted("b", other), granted("c", "sk-made-elsewhere")))
    found = [keys.find(key.encode(), 0.0) for key in (one, two, other, "sk-made-elsewhere")]
    assert [each.name for each in found if isinstance(each, Grant)] == ["a", "a", "b", "c"]
    digest = hashlib.sha256(one.encode())
    for wrong in (new_key().encode(), one[:-1].encode(), one.encode() + b" ", digest.digest(), bytes(32)):
        no = keys.find(wrong, 0.0)
        assert isinstance(no, Refusal)
        assert (no.status, no.code) == (401, "invalid_api_key")


def test_a_typo_and_a_key_of_nobody_are_told_alike() -> None:
    key = new_key()
    keys = Keys((granted("a", key),))
    typo = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert keys.find(typo.encode(), 0.0) == keys.find(new_key().encode(), 0.0)


def test_no_key_is_told_how_to_show_one() -> None:
    keys = Keys((granted("a", new_key()),))
    for nothing in (None, b""):
        no = keys.find(nothing, 0.0)
        assert isinstance(no, Refusal)
        assert no.message.startswith("cannot answer without a key; send it as `Authorization: Bearer KEY`")


def test_an_endless_key_is_refused_even_where_it_begins_as_a_good_one() -> None:
    key = "x" * LONGEST
    keys = Keys((granted("a", key),))
    assert isinstance(keys.find(key.encode(), 0.0), Grant)
    assert isinstance(keys.find(key.encode() + b"y" * 10_000, 0.0), Refusal)


def test_a_key_ends_when_it_expires_and_is_told_so() -> None:
    key = new_key()
    keys = Keys((granted("a", key, expires=86400.0 * 365),))
    assert isinstance(keys.find(key.encode(), 86400.0 * 365 - 1), Grant)
    no = keys.find(key.encode(), 86400.0 * 365)
    assert isinstance(no, Refusal)
    assert (no.status, no.code) == (401, "expired_api_key")
    assert no.message == "cannot use that key: it expired on 1971-01-01 00:00 UTC; ask for a new one"


def test_without_any_grant_it_is_open_and_with_one_that_has_no_keys_it_is_shut() -> None:
    assert Keys(()).open
    assert not Keys((Grant(name="a", keys=()),)).open


@pytest.mark.parametrize(
    ("patterns", "yes", "no"),
    [
        (("*",), ("chat", "x/y"), ()),
        (("chat",), ("chat",), ("chat-big", "a-chat", "Chat", "")),
        (("chat*", "embed"), ("chat", "chat-big", "embed"), ("embed2", "a")),
        (("team-*-v?",), ("team-a-v?",), ("team-a-v1", "team-a")),
        (("a.c", "(x"), ("a.c", "(x"), ("abc",)),
        ((), (), ("chat", "")),
    ],
)
def test_an_access_shows_the_models_of_its_patterns(patterns, yes, no) -> None:
    of = granted("a", models=patterns)
    keys = Keys((of,))
    assert [name for name in (*yes, *no) if keys.allows(of, name)] == [*yes]


def test_a_role_is_needed_and_an_admin_has_all() -> None:
    reader = Grant(name="prom", keys=(), roles=("metrics",))
    assert barred(reader, "metrics") is None
    no = barred(reader, "inference")
    assert no is not None
    assert (no.status, no.message) == (
        403,
        "cannot do this with a key of prom: it lacks the role inference; ask for it, or use another key",
    )
    admin = Grant(name="x", keys=(), roles=("admin",))
    assert [barred(admin, role) for role in ("inference", "metrics", "admin")] == [None] * 3


def test_keys_are_never_the_same_and_are_written_as_scanners_expect() -> None:
    made = {new_key() for _ in range(200)}
    assert len(made) == 200
    for key in made:
        assert key.startswith("hfk_")
        assert len(key) == LENGTH == 53
        assert set(key[4:]) <= set(string.ascii_letters + string.digits)
        assert shape(key) == "good"


def test_one_wrong_character_two_that_changed_places_or_one_that_is_missing_is_seen() -> None:
    chance = random.Random(1)
    for _ in range(300):
        key = new_key()
        at = chance.randrange(4, LENGTH - 1)
        other = chance.choice([one for one in string.ascii_letters + string.digits if one != key[at]])
        swapped = key[:at] + key[at + 1] + key[at] + key[at + 2 :]
        assert shape(key[:at] + other + key[at + 1 :]) == "mistyped"
        assert shape(swapped) == ("good" if swapped == key else "mistyped")
        assert shape(key[:at] + key[at + 1 :]) == "mistyped"
    assert [shape(key) for key in ("", "sk-abc", "hfk", "hfk_", "hfk_ä")] == ["foreign"] * 3 + ["mistyped"] * 2
