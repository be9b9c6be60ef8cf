"""What a request asks for is read as every engine reads it, or refused; and changed to the byte."""

import email
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gateway.asked import Asked, asked, prefix_key, renamed
from reconciler.gateway.body import IN_MEMORY, Body, Edited, Spool
from reconciler.gateway.members import members
from reconciler.gateway.paths import Operation, find
from reconciler.gateway.refusal import Refusal

JSON = b"application/json"


def operation(path: bytes) -> Operation:
    found = find(b"POST", path)
    assert isinstance(found, Operation)
    return found


CHAT = operation(b"/v1/chat/completions")
SPEECH = operation(b"/v1/audio/transcriptions")


def body(content: bytes) -> Body:
    made = Body(Spool("/dev/shm"))
    assert made.feed(content) is None
    return made


def ask(content: bytes, kind: bytes = JSON, of: Operation = CHAT, query: bytes = b"") -> Asked | Refusal:
    made = body(content)
    try:
        return asked(made, kind, of, query)
    finally:
        made.close()


def refused(answer: Asked | Refusal) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


@pytest.mark.parametrize(
    ("content", "model", "stream", "wants"),
    [
        (b'{"model":"a"}', "a", False, False),
        (b' {"messages":[{"role":"user"}],"model" : "a/b:c" , "stream": true}\n', "a/b:c", True, False),
        (b'{"model":"a","stream":null,"stream_options":null}', "a", False, False),
        (b'{"model":"a","stream":true,"stream_options":{"include_usage":true,"x":[1]}}', "a", True, True),
        (b'{"model":"a","stream":true,"stream_options":{"include_usage":false}}', "a", True, False),
        (b'{"x":{"model":"b","stream":true},"model":"a"}', "a", False, False),
        (b'{"model":"\\u0061","x":"model"}', "a", False, False),
        (b'{"mod\\u0065l":"a"}', "a", False, False),
        (b'{"model":"a","x":"\\"model\\"","y":["model"]}', "a", False, False),
        ('{"model":"modèle-é😀"}'.encode(), "modèle-é😀", False, False),
        (b'{"model":"a","x":"\\ud83d\\ude00"}', "a", False, False),
    ],
)
def test_what_json_asks_for(content: bytes, model: str, stream: bool, wants: bool):
    said = ask(content)
    assert isinstance(said, Asked), said
    assert (said.model, said.stream, said.wants_usage) == (model, stream, wants)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'"model"', "Expected `object`"),
        (b"{}", "no `model`"),
        (b'{"model":null}', "no `model`"),
        (b'{"model":""}', "1 to 256"),
        (b'{"model":5}', "Expected `str"),
        (b'{"model":["a"]}', "Expected `str"),
        (b'{"model":"' + b"x" * 257 + b'"}', "1 to 256"),
        (b'{"model":"a\\u0000"}', "printable"),
        (b'{"model":"a\\nb"}', "printable"),
        (b'{"model":"\\u202eb"}', "printable"),
        (b'{"model":"a","stream":1}', "Expected `bool"),
        (b'{"model":"a","stream":"true"}', "Expected `bool"),
        (b'{"model":"a","stream_options":[]}', "Expected `object"),
        (b'{"model":"a","stream_options":{"include_usage":1}}', "Expected `bool"),
        (b'{"model":"a","model":"b"}', "twice"),
        (b'{"model":"a","model":"a"}', "twice"),
        (b'{"model":"a","mod\\u0065l":"b"}', "twice"),
        (b'{"\\u006dodel":"a","model":"b"}', "twice"),
        (b'{"\\u006D\\u006F\\u0064\\u0065\\u006c":"a","model":"b"}', "twice"),
        (b'{"model":"a","Model":"b"}', "lower case"),
        (b'{"model":"a","MOD\\u0045L":"b"}', "lower case"),
        (b'{"MODEL":"a"}', "lower case"),
        (b'{"model":"a","x":NaN}', "byte 17"),
        (b'{"model":"a","x":Infinity}', "byte 17"),
        (b'{"model":"a","x":"\xff"}', "not UTF-8 (byte 18)"),
        (b'{"model":"a","x":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"model":"\xff"}', "not UTF-8"),
        (b'{"model":"a","x":"\\ud800"}', "cannot read"),
        (b'\xef\xbb\xbf{"model":"a"}', "byte order mark"),
        ('{"model":"a"}'.encode("utf-16"), "byte 0"),
        (b'{"model":"a"}{"model":"b"}', "trailing characters (byte 14)"),
        (b'{"model":"a",}', "trailing comma"),
        (b'{"model":"a" /* b */}', "byte 13"),
        (b"{'model':'a'}", "byte 1"),
        (b'{"model":"a","x":"\x00"}', "byte 18"),
        (b'{"model":"a","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"model":"a","x":' + b'{"y":' * 100_000, "nested too deeply"),
        (b'{"model":"a","model":1,' + b",".join(b'"%d":1' % n for n in range(5000)) + b"}", "Expected `str"),
        (b'{"model":"a","\\u006d":2,"' + b"x" * 5000 + b'":1}', "4096"),
        (b'{"model":"a","\\u0061":1,"\\u006d":2,' + b",".join(b'"%d":1' % n for n in range(5000)) + b"}", "4096"),
    ],
)
def test_what_is_refused_is_refused_in_words(content: bytes, words: str):
    answer = refused(ask(content))
    assert answer.status == 400
    assert words in answer.message
    assert "\n" not in answer.message


@pytest.mark.parametrize("start", [b'{"model":"a"', b'{"x":"' + "é".encode() * IN_MEMORY + b'","model":"a"'])
def test_large_bodies_are_read_alike(start: bytes):
    filler = b',"y":"' + b"\\n" * IN_MEMORY + b'"'
    said = ask(start + filler + b"}")
    assert isinstance(said, Asked)
    assert said.model == "a"
    assert "twice" in refused(ask(start + filler + b',"model":"b"}')).message
    bad = start + filler + b',"z":"\xff"}'
    assert f"not UTF-8 (byte {bad.index(0xFF)})" in refused(ask(bad)).message


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_a_character_across_two_windows_of_a_large_body_is_seen(more: int):
    start = b'{"model":"a","x":"'
    filler = b"y" * (2**20 - len(start) - more)
    assert isinstance(ask(start + filler + "😀".encode() * 3 + b"y" * 2**20 + b'"}'), Asked)
    for wrong in ("😀".encode()[:3], "😀".encode()[:2], b"\xff"):
        content = start + filler + wrong + b'y"}'
        assert f"not UTF-8 (byte {len(start + filler)})" in refused(ask(content)).message


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"application/json;charset=latin1",
        b"application/jsonx",
        b"application/json, text/plain",
        b"multipart/form-data; boundary=x",
    ],
)
def test_another_content_type_is_415(kind: bytes):
    answer = refused(ask(b'{"model":"a"}', kind))
    assert answer.status == 415
    assert "Content-Type: application/json" in answer.message


@pytest.mark.parametrize(
    "kind", [b"Application/JSON", b"application/json; charset=utf-8", b'application/json;charset="UTF-8"']
)
def test_json_is_known_however_it_is_written(kind: bytes):
    assert isinstance(ask(b'{"model":"a"}', kind), Asked)


def test_a_name_in_the_query_counts_where_the_body_has_none():
    said = ask(b'{"inputs":"x"}', query=b"model=a%2Fb", of=operation(b"/generate"))
    assert isinstance(said, Asked)
    assert (said.model, said.in_body) == ("a/b", False)
    assert isinstance(ask(b'{"model":"a"}', query=b"model=a&x=1"), Asked)
    for query in (b"model=b", b"model=a&model=a", b"%6dodel=b", b"model=", b"model=%ff", b"model=a&mod%65l=b"):
        assert refused(ask(b'{"model":"a"}', query=query)).status == 400
    assert refused(ask(b"{}", query=b"Model=a")).param == "model"


@pytest.mark.parametrize(
    ("path", "content", "stream"),
    [
        (b"/api/chat", b'{"model":"a"}', True),
        (b"/api/chat", b'{"model":"a","stream":false}', False),
        (b"/generate_stream", b'{"model":"a"}', True),
        (b"/v1/embeddings", b'{"model":"a","stream":true}', False),
        (b"/v2/models/a/infer", b"\x00binary", False),
        (b"/v2/models/a/generate_stream", b"{}", True),
    ],
)
def test_each_operation_has_its_own_way_to_stream(path: bytes, content: bytes, stream: bool):
    said = ask(content, of=operation(path))
    assert isinstance(said, Asked)
    assert (said.model, said.stream) == ("a", stream)


# multipart


def form(*parts: tuple[str, bytes], boundary: str = "b0") -> bytes:
    return b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), value)
        for name, value in parts
    ) + b"--%b--\r\n" % boundary.encode()  # fmt: skip


FORM = b"multipart/form-data; boundary=b0"
FILE = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'


@pytest.mark.parametrize(
    ("content", "model", "stream"),
    [
        (form(("model", b"a"), ("file", b"xx")), "a", False),
        (form(("file", b"\r\n--b\r\n--b1"[:8]), ("model", b"a"), ("stream", b"true")), "a", True),
        (form(("stream", b"False"), ("model", "é/b".encode()), ("stream_include_usage", b"true")), "é/b", False),
        (FILE + bytes(range(256)) * 10 + b"\r\n" + form(("model", b"a")), "a", False),
        (FILE + bytes(range(256)) * 2000 + b"\r\n" + form(("model", b"a")), "a", False),
        (form(("model", b"a"))[:-2], "a", False),
        (form(("file", b""), ("model", b"a")), "a", False),
    ],
)
def test_what_a_form_asks_for(content: bytes, model: str, stream: bool):
    said = ask(content, FORM, SPEECH)
    assert isinstance(said, Asked), said
    assert (said.model, said.stream, said.wants_usage) == (model, stream, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begin with its boundary"),
        (b"\r\n" + form(("model", b"a")), "begin with its boundary"),
        (b"preamble\r\n" + form(("model", b"a")), "begin with its boundary"),
        (form(("model", b"a")) + b"epilogue", "nothing may follow"),
        (form(("model", b"a")) + form(("model", b"b")), "nothing may follow"),
        (form(("model", b"a"))[:-6], "no end"),
        (form(("file", b"x")), "no `model`"),
        (form(("model", b"a"), ("model", b"a")), "one short field"),
        (form(("model", b"a" * 2000)), "one short field"),
        (form(("model", b"a" * 300)), "1 to 256"),
        (form(("model", b"a\r\nb")), "printable"),
        (form(("model", b"\xff")), "UTF-8"),
        (form(("model", b"a"), ("stream", b"1")), "true or false"),
        (form(("model", b"a\n--b0\r\n")), "alone in its line"),
        (form(("model", b"a\r\n--b0 \r\n")), "alone in its line"),
        (form(("model", b"a")).replace(b'name="model"', b'name="model"; filename="x"'), "one short field"),
        (form(("model", b"a")).replace(b'name="model"', b'name="x"; name="model"'), "cannot be read"),
        (form(("model", b"a")).replace(b'name="model"', b"name=\"x\"; name*=utf-8''model"), "read alike"),
        (form(("model", b"a")).replace(b'name="model"', b'name="mo\\del"'), "read alike"),
        (form(("model", b"a")).replace(b'name="model"', b"name=model x"), "cannot be read"),
        (form(("model", b"a")).replace(b"form-data", b"attachment"), "form-data"),
        (form(("model", b"a")).replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), "may not have"),
        (
            form(("model", b"a")).replace(b"\r\n\r\n", b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n'),
            "may not",
        ),
        (form(("model", b"a")).replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"), "no header"),
        (form(("model", b"a")).replace(b"\r\n\r\n", b"\n\r\n\r\n"), "no header"),
        (form(("model", b"a")).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), "no end"),
        (form(*[(f"x{n}", b"") for n in range(200)]), "more than 128"),
    ],
)
def test_a_form_that_two_could_read_in_two_ways_is_refused(content: bytes, words: str):
    answer = refused(ask(content, FORM, SPEECH))
    assert answer.status == 400
    assert words in answer.message


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (b'multipart/form-data; boundary="b0"', True),
        (b"Multipart/Form-Data;charset=utf-8; boundary=b0", True),
        (b"multipart/form-data; boundary=b0; charset=UTF-8", True),
        (b"multipart/form-data", False),
        (b"multipart/form-data; boundary=", False),
        (b"multipart/form-data; boundary=b0; boundary=b1", False),
        (b"multipart/form-data; boundary=" + b"b" * 71, False),
        (b"multipart/form-data; boundary=b0\xff", False),
        (b'multipart/form-data; boundary="b0 "', False),
        (b"multipart/mixed; boundary=b0", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_a_boundary_is_given_once_and_is_one(kind: bytes, taken: bool):
    answer = ask(form(("model", b"a")), kind, SPEECH)
    assert isinstance(answer, Asked) if taken else refused(answer).status == 415


def test_a_boundary_across_two_windows_of_a_large_file_is_seen():
    from reconciler.gateway.multipart import WINDOW

    for length in range(WINDOW - 8, WINDOW + 2):  # windows begin where the file does
        said = ask(FILE + b"-" * length + b"\r\n" + form(("model", b"a")), FORM, SPEECH)
        assert isinstance(said, Asked), said


# changing


def spliced(content: bytes, model: str | None, include_usage: bool, of: Operation = CHAT, kind: bytes = JSON) -> bytes:
    made = body(content)
    try:
        said = asked(made, kind, of, b"model=x" if b"mod" not in content else b"")
        assert isinstance(said, Asked), said
        new = renamed(made, said, model, include_usage)
        assert isinstance(new, Body | Edited)
        assert new.size == len(new.content)
        return new.content[:]
    finally:
        made.close()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"model":"a"}', b'{"stream_options":{"include_usage":true},"model":"n"}'),
        (
            b' {\n"x":{"model":"b"},"model" :\t"a" }',
            b' {"stream_options":{"include_usage":true},\n"x":{"model":"b"},"model" :\t"n" }',
        ),
        (b'{"model":"a","stream_options":null}', b'{"model":"n","stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{},"model":"a"}', b'{"stream_options":{"include_usage":true},"model":"n"}'),
        (b'{"stream_options":{"y":1},"model":"a"}', b'{"stream_options":{"include_usage":true,"y":1},"model":"n"}'),
        (
            b'{"stream_options":{"include_usage": false},"model":"a"}',
            b'{"stream_options":{"include_usage": true},"model":"n"}',
        ),
        (b'{"mod\\u0065l":"a"}', b'{"stream_options":{"include_usage":true},"mod\\u0065l":"n"}'),
        (b"{ }", b'{"model":"n","stream_options":{"include_usage":true} }'),
    ],
)  # fmt: skip
def test_what_is_changed_is_changed_where_it_stands(content: bytes, expected: bytes):
    assert spliced(content, "n", True) == expected


def test_what_is_not_to_be_changed_is_the_same_body():
    made = body(b'{"model":"a"}')
    said = asked(made, JSON, CHAT)
    assert isinstance(said, Asked)
    assert renamed(made, said, None) is made


LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["model", "stream", "stream_options", 'mo"del', "\\", '"model"', "{", "]", "\\u006d", "include_usage"]
)
VALUE = st.recursive(
    LEAF | TEXT, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3), max_leaves=8
)
OPTIONS = st.none() | st.dictionaries(TEXT, VALUE, max_size=3).map(lambda d: {**d, "include_usage": False})
WRITTEN = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 1, "\t"])})
NAME = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9)


@st.composite
def requests(draw: Any) -> dict[str, Any]:
    """Any JSON object with a model's name, its members in any order."""
    given = draw(st.dictionaries(TEXT.filter(lambda t: t.lower() != "model"), VALUE, max_size=5))
    given.pop("stream", None)
    given.pop("stream_options", None)
    if draw(st.booleans()):
        given["stream_options"] = draw(OPTIONS)
    given["model"] = draw(NAME)
    return dict(draw(st.permutations(list(given.items()))))


@settings(max_examples=500)
@given(requests(), st.none() | NAME, st.booleans(), WRITTEN, st.booleans())
def test_other_than_what_is_asked_for_nothing_changes(
    content: dict[str, Any], model: str | None, usage: bool, written: dict[str, Any], large: bool
):
    if large:
        content = {"filler": "]" * IN_MEMORY, **content}
    text = json.dumps(content, **written)
    expected = {**content, "model": model or content["model"]}
    if usage:
        expected["stream_options"] = {**(content.get("stream_options") or {}), "include_usage": True}
    assert json.loads(spliced(text.encode(), model, usage)) == expected


@settings(max_examples=300)
@given(st.dictionaries(TEXT, VALUE, max_size=5), WRITTEN)
def test_members_are_where_they_stand(content: dict[str, Any], written: dict[str, Any]):
    text = json.dumps(content, **written).encode()
    assert [(m.key, json.loads(text[m.start : m.end])) for m in members(text)] == list(content.items())


RUBBISH = [
    *"""{"model":"a"|"|\\|,|:|[|]|{|}|model|"model":|1|e|-|\\u|006d|null| |\x00|é""".encode().split(b"|"),
    b"\xff",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(RUBBISH), max_size=9))
def test_rubbish_is_asked_for_or_refused_and_never_read_otherwise_than_by_python(pieces: list[bytes]):
    content = b"".join(pieces)
    said = ask(content)
    if isinstance(said, Asked):
        assert json.loads(content)["model"] == said.model


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (form(("file", b"x"), ("model", b"a")), form(("file", b"x"), ("model", b"n"))),
        (form(("file", b"x")), form(("model", b"n"), ("file", b"x"))),
    ],
)
def test_a_form_gets_another_name_where_it_stands_or_before_all_else(content: bytes, expected: bytes):
    assert spliced(content, "n", True, SPEECH, FORM) == expected


def test_requests_that_begin_alike_have_one_key():
    def key(head: str, said: str, user: str) -> int:
        messages = [{"role": "system", "content": said}, {"role": "user", "content": user}]
        return prefix_key(body(json.dumps({"user": head, "messages": messages}).encode()))

    assert key("a", "x" * 2000, "one") == key("b", "x" * 2000, "two")
    assert key("a", "x" * 2000, "one") != key("a", "y" * 2000, "one")
    assert key("a", "x", "one") != key("a", "x", "two")
    assert prefix_key(body(b'{"prompt":"abc"}')) == 1444523458  # the same in each process


PARTS = [
    b"--b0",
    b"--b0--",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b'Content-Disposition: form-data; name="model"',
    b'Content-Disposition: form-data; name="file"; filename="x"',
    b"Content-Type: text/plain",
    b"--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n",
    b"--b0\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n",
    b"a",
    b"--",
    b" ",
    b"\r",
]  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PARTS), max_size=9), st.booleans())
def test_a_rubbish_form_is_refused_or_read_as_another_reader_does(pieces: list[bytes], ends: bool):
    content = b"".join(pieces) + (b"--b0--\r\n" if ends else b"")
    said = ask(content, FORM, SPEECH)
    if isinstance(said, Asked):
        read: Any = email.message_from_bytes(b"Content-Type: " + FORM + b"\r\n\r\n" + content)
        named = [part for part in read.get_payload() if part.get_param("name", header="content-disposition") == "model"]
        assert [part.get_payload() for part in named] == [said.model]
