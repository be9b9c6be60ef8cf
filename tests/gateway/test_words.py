"""Words of the plan reach who may know of all that they name."""

import pytest

from reconciler.gateway.words import fit

NAMES = {"chat", "small", "llama-3.1", "org/big"}


@pytest.mark.parametrize(
    "why",
    [
        "chat holds gpu 0",
        "waits for chat/1",
        "8 GiB are taken (by chat: 100)",
        "no room beside 'chat'",
        "it gives way to chat.",
        "chat/0, small/0 hold 46.1 GiB",
        "needs what llama-3.1/0 has",
        "it is behind org/big",
    ],
)
def test_what_names_a_model_that_is_hidden_is_not_said(why: str) -> None:
    assert fit(why, NAMES, lambda _: False) == ""
    assert fit(why, NAMES, lambda name: name == "small") == ""
    assert fit(why, NAMES, lambda _: True) == why


@pytest.mark.parametrize(
    "why", ["", "needs 80.0 GiB on one gpu, most free is 46.1 GiB", "chatter/0 is loud", "small/0 loads"]
)
def test_what_names_none_is_said(why: str) -> None:
    assert fit(why, NAMES, lambda name: name == "small") == why
