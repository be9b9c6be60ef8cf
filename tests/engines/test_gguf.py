"""GGUF headers: what is in them is understood, and whatever else comes is a problem in words."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engines import gguf
from reconciler.engines.gguf_layers import Table
from reconciler.model.weights import Unreadable, Weights
from tests.engines import gguf_files, shapes

SMALL = replace(shapes.SHAPES["llama 1B, tied"], layers=2, vocab=600)


def head(shape: shapes.Shape = SMALL, **more: gguf_files.Value) -> bytes:
    return gguf_files.header({**shapes.metadata(shape), **more}, shapes.tensors(shape))


def good(data: bytes) -> Weights:
    found = gguf.parse(data)
    assert isinstance(found, Weights), found
    return found


def bad(data: bytes, *, size: int | None = None) -> str:
    found = gguf.parse(data, size=size)
    assert isinstance(found, Unreadable), found
    return found.reason


def test_bytes_are_summed_by_layer_embedding_and_output() -> None:
    found = good(head(replace(SMALL, tied=False)))
    matrix = 600 * 2048 // 32 * 18
    assert (found.embedding, found.output, found.tied) == (matrix, matrix + 4 * 2048, False)
    assert found.total == found.embedding + found.output + sum(layer.weights for layer in found.layers)
    assert (found.dtype, found.vocab, found.context_length, found.embedding_length) == ("Q4_0", 600, 131072, 2048)
    layer = found.layers[1]
    assert (layer.attention, layer.heads, layer.keys, layer.values, layer.feed_forward) == ("full", 32, 512, 512, 8192)


def test_a_model_without_output_weights_uses_its_embedding_twice() -> None:
    assert good(head()).tied


KINDS = {
    "gemma3 4B": "sssssfsssssfsssssfsssssfsssssfssss",
    "gemma2 2B": "sf" * 13,
    "gpt-oss 20B": "sf" * 4,
    "deepseek2 lite": "m" * 9,
    "mamba 1.4B": "n" * 48,
    "jamba": "nnnfnnnn",
    "phi3 mini": "f" * 32,
    "qwen3 4B": "f" * 36,
    "cohere2 7B": "sssf" * 8,
    "granitehybrid": "nnnfnnnf",
}


@pytest.mark.parametrize("name", KINDS)
def test_each_layer_caches_as_its_architecture_does(name: str) -> None:
    shape = shapes.SHAPES[name]
    found = good(head(replace(shape, vocab=600)))
    assert "".join(layer.attention[0] for layer in found.layers) == KINDS[name]


def test_some_architectures_begin_with_a_layer_that_sees_everything() -> None:
    found = good(head(replace(SMALL, arch="smallthinker", layers=8, window=4096)))
    assert "".join(layer.attention[0] for layer in found.layers) == "fsssfsss"


def test_a_pattern_that_the_file_names_wins_over_the_architecture() -> None:
    shape = replace(shapes.SHAPES["gemma3 4B"], layers=4, vocab=600)
    pattern = [True, False, False, True]
    found = good(head(shape, **{"gemma3.attention.sliding_window_pattern": pattern}))
    assert [layer.attention for layer in found.layers] == ["sliding", "full", "full", "sliding"]


def test_a_latent_is_cached_once_for_all_heads() -> None:
    layer = good(head(replace(shapes.SHAPES["deepseek2 lite"], vocab=600))).layers[1]
    assert (layer.keys, layer.values, layer.experts > 0) == (576, 0, True)


def test_recurrent_layers_keep_a_state_and_no_keys() -> None:
    found = good(head(replace(shapes.SHAPES["jamba"], vocab=600)))
    assert [bool(layer.state) for layer in found.layers] == [True] * 3 + [False] + [True] * 4
    assert found.layers[0].state == 3 * 5120 + 16 * 5120
    assert found.layers[0].keys == 0


def test_every_fourth_layer_attends_where_the_file_says_only_how_often() -> None:
    shape = replace(shapes.SHAPES["jamba"], arch="qwen35", layers=8, recurrent=(0, 1, 2, 4, 5, 6), vocab=600)
    found = good(head(shape, **{"qwen35.attention.head_count_kv": 4}))
    assert "".join(layer.attention[0] for layer in found.layers) == "nnnfnnnf"
    assert [bool(layer.state) for layer in found.layers] == [True, True, True, False] * 2


def test_last_layers_may_use_what_earlier_ones_cached() -> None:
    found = good(head(SMALL, **{"llama.attention.shared_kv_layers": 1}))
    assert [layer.attention for layer in found.layers] == ["full", "none"]


def test_heads_may_differ_from_layer_to_layer() -> None:
    found = good(head(SMALL, **{"llama.attention.head_count_kv": [4, 2]}))
    assert [layer.kv_heads for layer in found.layers] == [4, 2]


def test_files_of_a_split_model_are_one_model() -> None:
    tensors = shapes.tensors(SMALL)
    names = list(tensors)
    split = {"split.count": 2, "split.tensors.count": len(names)}
    first = gguf_files.header(
        {**shapes.metadata(SMALL), **split, "split.no": 0}, {name: tensors[name] for name in names[:5]}
    )
    second = gguf_files.header({**split, "split.no": 1}, {name: tensors[name] for name in names[5:]})
    parts = [gguf.read(second), gguf.read(first)]
    assert all(isinstance(part, gguf.Part) for part in parts)
    whole = gguf.weigh([part for part in parts if isinstance(part, gguf.Part)])
    assert whole == replace(good(head()), files=2)
    alone = gguf.parse(second)
    assert isinstance(alone, Unreadable)
    assert alone.reason == "cannot be weighed: of its files only 2 are there; fetch the others"


def test_the_files_of_a_split_model_are_named_by_any_of_them() -> None:
    assert gguf.shards("m/a-00002-of-00003.gguf") == tuple(f"m/a-0000{number}-of-00003.gguf" for number in (1, 2, 3))
    assert gguf.shards("a.gguf") == ("a.gguf",)
    assert gguf.shards("a-00001-of-99999.gguf") == ("a-00001-of-99999.gguf",)


def test_a_reader_is_asked_for_no_more_than_the_header_and_a_step_ahead() -> None:
    data = head() + bytes(2**24)
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return data[offset : offset + length]

    assert gguf.parse(read) == good(head())
    assert sum(length for _, length in asked) <= 256 * 2**10


def test_short_answers_are_asked_again_until_nothing_comes() -> None:
    data = head()
    assert gguf.parse(lambda offset, length: data[offset : offset + min(length, 1000)]) == good(data)
    assert "ends within its own header" in str(gguf.parse(lambda offset, length: data[:500][offset : offset + length]))


def test_a_long_vocabulary_is_passed_over_string_by_string() -> None:
    shape = replace(SMALL, vocab=70000)
    data = head(shape)
    asked = 0

    def read(offset: int, length: int) -> bytes:
        nonlocal asked
        asked += 1
        return data[offset : offset + length]

    found = gguf.parse(read)
    assert isinstance(found, Weights)
    assert found.vocab == 70000
    assert 1 < asked < 6, "it asks for more each time"


def test_a_file_that_was_cut_off_is_told_by_its_size() -> None:
    found = good(head())
    whole = len(head()) + found.total
    assert gguf.parse(head(), size=whole) == found
    assert bad(head(), size=whole - 40000) == (
        f"cannot be used: {whole - 40000} of its {whole} bytes are there; fetch it again"
    )


def test_foreign_files_are_told_apart() -> None:
    assert bad(b"\x80\x02}q\x00") == "cannot be read: it ends within its own header; fetch it again"
    assert bad(b"PK\x03\x04" + bytes(64)) == "cannot be read: it is no GGUF file"
    assert "big-endian" in bad(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    assert "version 1 " in bad(b"GGUF" + struct.pack("<III", 1, 0, 0) + bytes(16))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 0), "9223372036854775808 tensors, more than 65536"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**40), "1099511627776 keys, more than 16384"),
        (struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62), "bytes in the name of a key"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_files.text("k") + struct.pack("<I", 99), "of type 99"),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_files.text("k") + struct.pack("<IIQ", 9, 9, 5),
            "a list of type 9",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_files.text("k") + struct.pack("<IIQ", 9, 8, 2**40),
            "1099511627776 strings",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_files.text("k") + struct.pack("<IIQ", 9, 4, 2**60),
            "longer than 64 MiB",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + gguf_files.text("k") + struct.pack("<IIQQ", 9, 8, 2, 2**61),
            "longer than 64 MiB",
        ),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + gguf_files.text("t") + struct.pack("<I", 2**31), "dimensions"),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + gguf_files.text("t") + struct.pack("<IQIQ", 1, 32, 77, 0),
            "is of type 77",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0)
            + gguf_files.text("t")
            + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0),
            "cannot have 1099511627776×1099511627776 elements",
        ),
        (
            struct.pack("<4sIQQ", b"GGUF", 3, 1, 0) + gguf_files.text("t") + struct.pack("<IQIQ", 1, 33, 2, 0),
            "cannot have 33 elements",
        ),
        (head(SMALL, **{"llama.block_count": -1}), "llama.block_count is -1"),
        (head(SMALL, **{"llama.block_count": 2**31}), "llama.block_count is 2147483648, not a number from 0 to 4096"),
        (head(SMALL, **{"llama.embedding_length": "wide"}), "llama.embedding_length is 'wide'"),
        (head(SMALL, **{"llama.attention.head_count": 2.5}), "llama.attention.head_count is 2.5"),
        (head(SMALL, **{"llama.attention.head_count_kv": [8]}), "has 1 values for 2 layers"),
        (head(SMALL, **{"general.architecture": 5}), "general.architecture is 5, not a text"),
    ],
)
def test_hostile_headers_are_a_problem_in_words(data: bytes, why: str) -> None:
    assert why in bad(data)


def test_the_same_key_twice_is_refused() -> None:
    key = gguf_files.text("k") + gguf_files.entry(1)
    assert "'k' is in it twice" in bad(struct.pack("<4sIQQ", b"GGUF", 3, 0, 2) + key + key)


def test_adapters_and_projectors_have_bytes_and_no_layers() -> None:
    data = gguf_files.header(
        {"general.architecture": "clip", "general.type": "mmproj"}, {"v.patch_embd.weight": ("F16", (64, 64))}
    )
    found = good(data)
    assert (found.total, found.layers, found.other) == (8192, (), 8192)


BASE = head(replace(SMALL, vocab=300))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=6))
def test_any_change_of_any_bytes_is_weights_or_a_problem(changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(BASE)
    for place, new in changes:
        data[place : place + len(new)] = new
    found = gguf.parse(bytes(data), size=10**9)
    assert isinstance(found, Weights | Unreadable)


@settings(max_examples=60)
@given(st.integers(0, len(BASE) - 40), st.integers(0, 300))
def test_any_cut_is_a_problem(at: int, gap: int) -> None:
    assert isinstance(gguf.parse(BASE[:at]), Unreadable)
    found = gguf.parse(BASE[:at] + BASE[at + gap :])
    assert isinstance(found, Weights | Unreadable)


@settings(max_examples=150)
@given(st.binary(max_size=400))
def test_noise_behind_the_magic_is_a_problem_or_nothing(noise: bytes) -> None:
    found = gguf.parse(b"GGUF\x03\x00\x00\x00" + noise)
    assert isinstance(found, Weights | Unreadable)


NUMBERS = [key for key, value in shapes.metadata(shapes.SHAPES["jamba"]).items() if isinstance(value, int | list)]


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(NUMBERS),
        st.one_of(
            st.integers(-(2**40), 2**62), st.floats(), st.text(max_size=5), st.booleans(), st.just(()),
            st.lists(st.one_of(st.integers(-5, 2**62), st.floats(), st.booleans()), max_size=9).map(tuple),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_value_of_any_key_is_weights_or_a_problem(changes: dict[str, gguf_files.Value]) -> None:
    shape = replace(shapes.SHAPES["jamba"], vocab=300)
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in shapes.metadata(shape).items()
        if not key.startswith("tokenizer")
    }
    part = gguf.read(gguf_files.header({"general.architecture": "jamba"}, shapes.tensors(shape)))
    assert isinstance(part, gguf.Part)
    table = Table(values={**values, **changes}, lengths={})  # pyright: ignore[reportArgumentType]
    assert isinstance(gguf.weigh((replace(part, table=table),)), Weights | Unreadable)
