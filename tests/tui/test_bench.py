"""What was measured of a model, as a person sees it."""

from dataclasses import replace
from textwrap import dedent

import pytest

from reconciler.model.bench import Bench, Level, Times
from tui.view.bench import bench_text

ONE = Level(
    concurrency=1,
    requests=32,
    failed=0,
    errors=(),
    seconds=8.0,
    first_token=Times(p50=0.0123, p90=0.014, p99=0.019),
    next_token=Times(p50=0.0031, p90=0.0032, p99=0.004),
    read=128.2,
    written=40.0,
    tokens_each=310.4,
    tokens_all=305.0,
    requests_all=4.0,
)
MANY = replace(
    ONE,
    concurrency=16,
    failed=2,
    errors=(("too many; \x1b[2Jwait (status 429)", 2),),
    first_token=Times(p50=1.52, p90=2.0, p99=2.25),
    next_token=None,
    read=127.9,
    written=38.0,
    tokens_each=9.44,
)
BENCH = Bench(model="chat", url="http://127.0.0.1:8642", prompt_tokens=128, max_tokens=64, warmup=2, levels=(ONE, MANY))


def test_a_line_for_each_level_and_what_was_measured():
    assert bench_text(BENCH, width=80, colour=False) == dedent("""
        chat at http://127.0.0.1:8642
        prompts of 128 tokens, no two alike; answers of 38–40 tokens, at most 64; 2
        requests before were not counted

        AT ONCE  FIRST TOKEN        NEXT TOKEN         TOK/S EACH  TOK/S  REQ/S  FAILED
        1        12.3 14.0 19.0 ms  3.10 3.20 4.00 ms  310         305    4.0    0
        16       1.52 2.00 2.25 s   -                  9.4         305    4.0    2
        ! 16 at once, 2 failed: too many; wait (status 429)

        Times: half, 90 % and 99 % of the requests took no longer; the next token's is
        the mean of an answer. TOK/S EACH: what a client gets while it waits, half of
        them more. TOK/S, REQ/S: all together.
        """).strip("\n")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    assert max(map(len, bench_text(BENCH, width=width, colour=False).splitlines())) <= width


def test_what_was_not_measured_is_not_made_up():
    nothing = replace(
        ONE,
        requests=0,
        failed=3,
        first_token=None,
        next_token=None,
        read=None,
        written=None,
        tokens_each=None,
        tokens_all=None,
        requests_all=0.0,
        errors=(("broke off", 3),),
    )
    text = bench_text(replace(BENCH, levels=(nothing,)), width=120, colour=False)
    assert text.splitlines()[5].split() == ["1", "-", "-", "-", "-", "-", "3"]
    assert "prompts of 128 words, as its engine counts no tokens" in text
