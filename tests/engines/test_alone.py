"""What cannot chat, as its file says."""

import pytest

from reconciler.engines.alone import alone
from reconciler.model.kinds import Model


@pytest.mark.parametrize(
    ("engine", "args", "does"),
    [
        ("llamacpp", ("--embeddings",), "embeds"),
        ("llamacpp", ("--embedding", "--reranking"), "ranks"),
        ("llamacpp", ("--pooling", "mean"), ""),
        ("llamacpp", ("--runner", "pooling"), ""),
        ("vllm", ("--runner", "pooling"), "embeds"),
        ("vllm", ("--runner=pooling",), "embeds"),
        ("vllm", ("--task", "score"), "ranks"),
        ("vllm", ("--task", "classify"), "classifies"),
        ("vllm", ("--task", "generate"), ""),
        ("vllm", ("--served-model-name", "pooling"), ""),
        ("sglang", ("--is-embedding",), "embeds"),
        ("sglang", (), ""),
        ("ollama", ("--embeddings",), ""),
    ],
)
def test_an_argument_tells_what_an_engine_does_instead_of_chatting(engine, args, does):
    assert alone(Model(kind="Model", name="m", source="hf:o/r", args=args), engine) == does
