"""What a model's file has its engine do instead of chatting: llama.cpp, vLLM and SGLang are told so by an argument.

What nothing but the weights would tell is not guessed: an engine then refuses a chat in its own words.
"""

from collections.abc import Iterator
from itertools import pairwise

from reconciler.model.kinds import Model

EMBEDS, RANKS = "embeds", "ranks"
_TASKS = {"embed": EMBEDS, "embedding": EMBEDS, "score": RANKS, "classify": "classifies", "reward": RANKS}
_FLAGS = {
    "llamacpp": {"--rerank": RANKS, "--reranking": RANKS, "--embedding": EMBEDS, "--embeddings": EMBEDS},
    "sglang": {"--is-embedding": EMBEDS},
}
_CHOICES = {"vllm": {("--runner", "pooling"): EMBEDS, **{("--task", task): does for task, does in _TASKS.items()}}}


def alone(model: Model, engine: str) -> str:
    """`embeds`, `ranks`, `classifies`; empty where its file says nothing of that."""
    words = list(_words(model))
    flags, choices = _FLAGS.get(engine, {}), _CHOICES.get(engine, {})
    found = [does for flag, does in flags.items() if flag in words]
    found += [choices[pair] for pair in pairwise(words) if pair in choices]
    return found[0] if found else ""


def _words(model: Model) -> Iterator[str]:
    """`--task=embed` as two."""
    for argument in model.args:
        yield from argument.split("=", 1) if argument.startswith("--") else (argument,)
