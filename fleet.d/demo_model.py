"""Writes the demo model: a real GGUF that llama.cpp loads, small enough to be made here instead of downloaded.

It is a llama of one layer that says a fixed sentence. Attention and feed-forward add nothing, so what comes out
depends on the last token alone, and the output weights hold "after this word comes that word". Nothing but Python's
own library is needed. Run it as `python fleet.d/demo_model.py [FILE]`; it does nothing where the file is there.
"""

import os
import random
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT = HERE.parent / "models" / "demo.gguf"

# Words must differ from one another, as the next word is chosen by the last one alone.
FIRST = "Hello!| I| am| a| very| small| model,| made| here| by| a script,| and I| hold| fast."
LATER = (
    "That| is all| I can| say.| To talk| to| a real model,| change| source| in| fleet.d/demo.yaml| and save:"
    "| Holdfast| will| see| it."
)

WIDTH, HEADS, INNER, CONTEXT = 64, 2, 64, 4096
UNKNOWN, BEGIN, END, USER, ASSISTANT, AGAIN = range(6)
SPECIAL = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|again|>")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{{ message['content'] }}</s>"
    "{% else %}<|user|>{{ message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{% if messages | length > 2 %}<|again|>{% else %}<|assistant|>{% endif %}"
    "{% endif %}"
)

# GGUF, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN_TYPE, CONTROL, BYTE = 1, 2, 3, 6
ALIGNMENT = 32

Scalar = bool | int | float | str
Tensor = tuple[tuple[int, ...], "array[float]"]


def words(sentence: str) -> list[str]:
    """The sentence as tokens: a space is written U+2581 in this kind of vocabulary."""
    return [word.replace(" ", "\u2581") for word in sentence.split("|")]


def vocabulary() -> tuple[list[str], list[int]]:
    """Every token, and of which type each is."""
    spoken = words(FIRST) + words(LATER)
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *spoken]
    types = [UNKNOWN_TYPE, *[CONTROL] * (len(SPECIAL) - 1), *[BYTE] * 256, *[NORMAL] * len(spoken)]
    return tokens, types


def followers(tokens: list[str]) -> dict[int, int]:
    """Token → the token that comes after it."""
    follows: dict[int, int] = {}
    for start, sentence in ((ASSISTANT, FIRST), (AGAIN, LATER)):
        road = [start, *map(tokens.index, words(sentence)), END]
        follows.update(pairwise(road))
    return follows


def tensors(tokens: list[str]) -> dict[str, Tensor]:
    """Weights by name; each with its dimensions, the fastest first, as GGUF has them."""
    size = len(tokens)
    embedding = array("f", bytes(4 * size * WIDTH))
    output = array("f", bytes(4 * size * WIDTH))
    follows = followers(tokens)
    places = {token: place for place, token in enumerate(follows, start=1)}
    for token in range(size):
        # Whatever was not said by the model itself shares place 0, and is answered by the first sentence.
        embedding[token * WIDTH + places.get(token, 0)] = 1.0
    for token, following in {**follows, -1: follows[ASSISTANT]}.items():
        # The norm makes of 1 the root of WIDTH, 8: a lead of 64 over any other word at every temperature in use.
        output[following * WIDTH + places.get(token, 0)] = 8.0
    ones = array("f", [1.0] * WIDTH)
    return {
        "token_embd.weight": ((WIDTH, size), embedding),
        "output_norm.weight": ((WIDTH,), ones),
        "output.weight": ((WIDTH, size), output),
        "blk.0.attn_norm.weight": ((WIDTH,), ones),
        "blk.0.attn_q.weight": ((WIDTH, WIDTH), noise(WIDTH * WIDTH, 1)),
        "blk.0.attn_k.weight": ((WIDTH, WIDTH), noise(WIDTH * WIDTH, 2)),
        "blk.0.attn_v.weight": ((WIDTH, WIDTH), noise(WIDTH * WIDTH, 3)),
        "blk.0.attn_output.weight": ((WIDTH, WIDTH), array("f", bytes(4 * WIDTH * WIDTH))),
        "blk.0.ffn_norm.weight": ((WIDTH,), ones),
        "blk.0.ffn_gate.weight": ((WIDTH, INNER), noise(WIDTH * INNER, 4)),
        "blk.0.ffn_up.weight": ((WIDTH, INNER), noise(WIDTH * INNER, 5)),
        "blk.0.ffn_down.weight": ((INNER, WIDTH), array("f", bytes(4 * INNER * WIDTH))),
    }


def noise(count: int, seed: int) -> "array[float]":
    """Small numbers, the same ones each time."""
    draw = random.Random(seed).gauss
    return array("f", [draw(0.0, 0.02) for _ in range(count)])


def metadata(tokens: list[str], types: list[int]) -> dict[str, Scalar | list[str] | list[int] | list[float]]:
    """Everything llama.cpp wants to know of the model beside its weights."""
    return {
        "general.architecture": "llama",
        "general.name": "Holdfast demo",
        "general.alignment": ALIGNMENT,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": INNER,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(place) for place in range(len(tokens))],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": BEGIN,
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.unknown_token_id": UNKNOWN,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def text(value: str) -> bytes:
    """A string as GGUF has it: its length, its bytes."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(value: Scalar) -> tuple[int, bytes]:
    """A value's type and its bytes."""
    match value:
        case bool():
            return BOOL, struct.pack("<?", value)
        case int():
            return UINT32, struct.pack("<I", value)
        case float():
            return FLOAT32, struct.pack("<f", value)
        case str():
            return STRING, text(value)


def field(value: Scalar | list[str] | list[int] | list[float]) -> bytes:
    """A value of the metadata with its type before it. Numbers in a list are signed, as llama.cpp wants token types."""
    if not isinstance(value, list):
        kind, data = scalar(value)
        return struct.pack("<I", kind) + data
    items = [(INT32, struct.pack("<i", item)) if isinstance(item, int) else scalar(item) for item in value]
    return struct.pack("<IIQ", ARRAY, items[0][0], len(items)) + b"".join(data for _, data in items)


def padded(data: bytes) -> bytes:
    """Filled up to the alignment."""
    return data + bytes(-len(data) % ALIGNMENT)


def gguf(values: Mapping[str, Scalar | list[str] | list[int] | list[float]], weights: Mapping[str, Tensor]) -> bytes:
    """The whole file."""
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(weights), len(values))]
    head += [text(key) + field(value) for key, value in values.items()]
    offset, blobs = 0, list[bytes]()
    for name, (shape, numbers) in weights.items():
        blobs.append(padded(little(numbers)))
        head.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        offset += len(blobs[-1])
    return padded(b"".join(head)) + b"".join(blobs)


def little(numbers: "array[float]") -> bytes:
    """32-bit numbers, the low byte first, whatever this machine has."""
    if sys.byteorder == "big":
        numbers = array("f", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def write(path: Path, data: bytes) -> None:
    """All of it or nothing: a server may be reading the old file now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def main(arguments: Iterable[str]) -> int:
    """Write the file named by the first argument, or models/demo.gguf beside fleet.d."""
    path = Path(next(iter(arguments), DEFAULT))
    shown = os.path.relpath(path)
    data = gguf(metadata(*vocabulary()), tensors(vocabulary()[0]))
    try:
        if path.is_file() and path.read_bytes() == data:
            path.touch()  # for make: it is as new as this script
            sys.stdout.write(f"{shown} is there\n")
            return 0
        write(path, data)
    except OSError as error:
        sys.stderr.write(f"cannot write {shown}: {error.strerror}; name another file as the first argument\n")
        return 1
    sys.stdout.write(f"{shown} written, {len(data) // 1024} KiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
