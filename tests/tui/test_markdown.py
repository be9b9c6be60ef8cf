"""An outlook in a pull request: what a Markdown reader makes of it, whatever the files and the processes are called."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reconciler.model.memory import Memory
from reconciler.model.observation import Holder
from reconciler.model.plan import Blocked, Plan
from reconciler.model.source import Problem, Revision
from reconciler.model.status import Reason
from reconciler.plan.road import road
from tests.plan.world import GIB, NOW, ahead_of, fleet, gpu, machine
from tests.tui.test_plan import CHAT, TINY, ahead, running
from tui.view.foresee import outlook
from tui.view.markdown import LONGEST, code, plan_markdown, prose
from tui.view.outlook import Against, Outlook

HOSTILE = [
    "a | b",
    "`a`",
    "``a`` | \\| \\",
    "<script>alert(1)</script>",
    "</code></td><img src=x onerror=y>",
    "![x](https://example.org/x.png)",
    "[click](javascript:alert)",
    "<!-- gone",
    "@everyone #1 :100: $x$ ~~a~~ **b** _c_",
    "https://example.org www.example.org a@example.org",
    "one\ntwo\r\n\n# three\n```\nfour",
    "&lt;b&gt; &#124;",
    "\x1b[31mred\u202e",
]
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def pieces(markdown: str):
    """What a reader finds: the tokens, those within lines too."""
    for token in READER.parse(markdown):
        yield token
        yield from token.children or ()


def rows(markdown: str) -> list[int]:
    """How many cells each row of its tables has."""
    kinds = [token.type for token in READER.parse(markdown)]
    found: list[int] = []
    for kind in kinds:
        if kind == "tr_open":
            found.append(0)
        elif kind in ("td_open", "th_open"):
            found[-1] += 1
    return found


def marked_up(markdown: str) -> list[str]:
    """What in it is neither plain words, nor code, nor our own tables, lists and headings."""
    ours = {"text", "code_inline", "inline", "paragraph", "strong", "heading", "fence"}
    ours |= {"table", "thead", "tbody", "tr", "th", "td", "bullet_list", "list_item"}
    tags = {"<code>", "</code>", "<details><summary>Every step</summary>\n", "</details>", "</details>\n"}
    return [
        token.content or token.type
        for token in pieces(markdown)
        if re.sub("_(open|close)$", "", token.type) not in ours
        and not (token.type in ("html_inline", "html_block") and token.content in tags)
    ]


def hostile(text: str) -> Outlook:
    """A plan with this text wherever somebody else may write one."""
    stranger = Holder(pid=7, name=text, memory=GIB)
    wanted = fleet(CHAT.replace("8192", "16384") + "---" + TINY)
    problem = Problem(path=f"fleet.d/{text}.yaml", key=text, message=text)
    wanted = replace(wanted, root=text, problems=(problem,), missing=text)
    on = machine(gpus=(gpu(0, holders=(stranger,), used=1), gpu(1, model=text)))
    ahead = (
        *road(wanted, on, {}, Memory(), NOW),
        Plan(blocked=(Blocked(subject=text, reason=Reason.NoNode, detail=text),)),
    )
    against = Against(name=text, commit="0" * 40, problems=(problem,))
    return outlook(ahead_of(wanted, on, ahead), against=against, machine=text)


def test_what_a_pull_request_shows():
    before = CHAT + "---" + TINY + "---" + CHAT.replace("name: chat", "name: old")
    after = CHAT.replace("8192", "16384") + "---" + TINY
    wanted, on = replace(fleet(after), revision=Revision(commit="3f2a9c1" + "0" * 33)), running(before)
    big = Blocked(subject="big/0", reason=Reason.NoFreeGpu, detail="needs 2 gpus to itself; gpu 0: shared by chat/0")
    passes = (*road(wanted, on, {}, Memory(), NOW), Plan(blocked=(big,)))
    against = Against(name="origin/main", commit="9016de0" + "0" * 33)
    seen = outlook(ahead_of(wanted, on, passes), against=against, machine="box1")
    assert (
        plan_markdown(seen)
        == """\
### Plan of `fleet.d` @ `3f2a9c1` against `origin/main (9016de0)` on `box1`

1 model · 1 service · 2 to change · 1 blocked

| | instance | does | what | why, and at what cost |
|---|---|---|---|---|
| ± | `chat/0` | **replace** | context 8192 → 16384 | down while it loads |
| - | `old/0` | **stop** | removed from fleet.d | ends within 10s |

| gpu | model | | memory | held after, GiB |
|---|---|---|---|---|
| 0 | `H100` | `▇▇▇░░▁▁▁▁▁` | 41.0 → 21.0 of 80.0 GiB | `chat/0` 20.0, `pid 7 python` 1.0 |
| 1 | `H100` | `▁▁▁▁▁▁▁▁▁▁` | 0.0 of 80.0 GiB | free |

**Blocked**

- `big/0`: needs 2 gpus to itself; gpu 0: shared by chat/0"""
    )


def test_the_plan_of_a_paused_fleet_says_so():
    seen = ahead(fleet(CHAT), running(CHAT), Memory(paused=True))
    assert "\n\n**the fleet is paused: this is what `holdfast resume` would do**" in plan_markdown(seen)


def test_the_steps_are_folded_away():
    seen = ahead(fleet(CHAT.replace("8192", "16384")), running(CHAT))
    text = plan_markdown(seen, steps=True)
    folded = text.partition("<details><summary>Every step</summary>\n\n")[2]
    assert folded.startswith("```text\nstep 1\n  stop chat/0: SpecChanged (context 8192 → 16384)\nstep 2\n")
    assert folded.endswith("```\n\n</details>")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_breaks_a_table_or_marks_anything_up(text):
    markdown = plan_markdown(hostile(text), steps=True)
    assert marked_up(markdown) == []
    assert set(rows(markdown)) == {5}
    assert len(rows(markdown)) == len(rows(plan_markdown(hostile("plain"), steps=True)))


@settings(max_examples=100)
@given(st.one_of(st.text(alphabet="`|\\<>&*_[]()!#@:$~a1 \n.-/", max_size=12), st.text(max_size=20)))
@example("`|`\\|")
def test_any_text_is_one_cell_that_says_it(text):
    for write in (code, prose):
        markdown = f"| a | b |\n|---|---|\n| {write(text)} | end |"
        assert rows(markdown) == [2, 2]
        assert marked_up(markdown) == []


@pytest.mark.parametrize("text", ["a | b", "`", "x`y|z\\", "<b>&amp;</b>", "kv_cache_dtype f16 → q8_0", "a\\|b"])
def test_what_is_written_is_what_is_read(text):
    for write in (code, prose):
        table = READER.render(f"| {write(text)} |\n|---|")
        seen = re.sub(r"<[^>]*>", "", table).strip()
        for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
            seen = seen.replace(entity, letter)
        assert seen == text


def test_nobody_is_called_and_nothing_is_linked():
    """Where comments are shown, names after @ and numbers after # are links wherever they are not code."""
    said = prose("ask @everyone about #12, https://example.org, www.example.org and :tada:")
    outside = re.sub("`[^`]*`", "", said)
    assert not set("@#:") & set(outside)
    assert "www" not in outside


def test_punctuation_after_strange_words_is_no_code():
    said = prose("cannot be 'hf:x'; did you mean replicas? (see a_b), then_c.")
    assert said == "cannot be `'hf:x'`; did you mean replicas? (see `a_b`), `then_c`."


def test_pieces_of_code_that_touch_stay_apart():
    assert prose("`a``b` `c`<d>") == "`a` `b` `c` `<d>`"


def test_a_command_that_a_message_names_stays_code():
    assert prose("`holdfast resume` it, or (`x`) remove paused") == "`holdfast resume` it, or (`x`) remove paused"


def test_a_fleet_of_thousands_fits_into_a_comment():
    text = "".join(f"{TINY.replace('tiny', f'tiny-{number}')}---" for number in range(900))
    text += "".join(f"{CHAT.replace('chat', f'big-{number}')}---" for number in range(200))
    problems = tuple(Problem(path=f"fleet.d/{n}.yaml", key="x", message="cannot | be " * 40) for n in range(200))
    on = machine(gpus=tuple(gpu(index, memory=10 + index) for index in range(120)))
    markdown = plan_markdown(ahead(fleet(text, problems=problems), on), steps=True)
    assert 40_000 < len(markdown) < LONGEST
    assert re.search(r"… and \d+ more; `holdfast plan` prints all", markdown)
    assert set(rows(markdown)) == {5}


def test_nothing_to_do_is_two_lines():
    assert plan_markdown(ahead(fleet(CHAT), running(CHAT))) == "### Plan of `fleet.d`\n\n1 model · nothing to do"
