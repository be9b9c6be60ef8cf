"""The Workload screen as a person reads it: worlds and answers in, text out."""

from dataclasses import replace
from datetime import UTC
from math import inf, nan

import pytest

from reconciler.model.answers import About, Run
from reconciler.model.live import Live
from reconciler.model.routing import Traffic, Wanted
from reconciler.model.source import Problem
from reconciler.model.status import Event, GatewayStatus, Reason
from tests.api.daemon import status, workload
from tests.tui.abouts import LOG, METRICS, about
from tests.tui.worlds import WALL, all_worlds, machine, world
from tui.view.clean import clean
from tui.view.document import document_lines
from tui.view.launch import options
from tui.view.log_line import Cutter
from tui.view.paint import width as wide
from tui.view.picture import Picture, printed
from tui.view.plot import Meter, figure, plot
from tui.view.workload import TABS, Told, tab_at, workload_picture
from tui.view.world import Machine, Past, World

LINES = tuple(Cutter(0, 0).feed(LOG, 0))
TOLD = Told(about=about(), metrics=METRICS, log=LINES, log_of="chat/0")
UP = GatewayStatus(connected=True, listen=("http://127.0.0.1:8642",))


def picture(of: World, told: Told = TOLD, *, tab: str = TABS[0], width: int = 100, key: str = "/chat") -> Picture:
    return workload_picture(of, key, told, tab=tab, width=width, height=40, zone=UTC)


def shown(of: World, told: Told = TOLD, *, tab: str = TABS[0], width: int = 100, key: str = "/chat") -> str:
    return "\n".join(printed(line, colour=False) for line in picture(of, told, tab=tab, width=width, key=key).lines)


def test_all_conditions_can_be_read_where_columns_are_few():
    told = " ".join(shown(chat(), width=40).split())
    assert "Ready: no, starting · Reconciling: yes · Stalled: no" in told
    assert max(map(len, shown(chat(), width=40).splitlines()[:7])) <= 40


def chat(**more) -> World:
    past, traffic = Past(), Traffic()
    for number in range(120):
        traffic = Traffic(requests=number / 10, tokens=number * 4.0, first_byte=0.25, total=900)
        past.add(Live(now=100.0 + number, traffic={"chat": Wanted(in_flight={"chat/0": 2}, traffic=traffic)}), {})
    live = Live(now=219.0, traffic={"chat": Wanted(in_flight={"chat/0": 2}, waiting=1, oldest=4, traffic=traffic)})
    happened = Event(at=WALL - 60, severity="error", subject="chat/0", reason=Reason.Exited, message="exited")
    of = status(workload("chat", wanted=2, ready=1, reason=Reason.Starting, why="chat/1 loading"), gateway=UP)
    return world(Machine(name="", status=of, live=live, past=past, events=(happened,), **more))


def test_the_first_page_says_how_it_does_and_why():
    lines = shown(chat()).splitlines()
    assert lines[:8] == [
        "chat  ◐ starting  Model · llamacpp · fleet.d/chat.yaml:1 · priority 100",
        "▸ Overview    File    Launch    Runs",
        "",
        "chat/1 loading",
        "answers to chat, chat-alias at http://127.0.0.1:9000",
        "Ready: no, starting · Reconciling: yes · Stalled: no",
        "",
        "REPLICAS",
    ]
    assert lines[8].split() == ["SLOT", "STATE", "GPU", "MEMORY", "PORT", "PID", "UNDER", "RUN", "SINCE", "RESTARTS"]
    assert [line.split() for line in lines[9:11]] == [
        ["chat/0", "●", "ready", "0", "16.0", "GiB", "9000", "4000", "process", "1", "1m", "0"],
        ["chat/1", "◐", "starting", "1", "16.0", "GiB", "9001", "4001", "process", "1", "1m", "0"],
    ]


def test_what_clients_and_the_engine_do_is_told_with_units_and_its_past():
    text = shown(chat())
    assert "2 in flight · 1 waiting for 4s · 0 failed/s · 900 answered" in text
    assert "requests/s" in text
    assert "first byte, ms" in text
    assert "1m ago" in text
    assert "chat/0    vllm          2        0    25%     1200      340        250ms        12ms     3.0s" in text
    assert "chat/1: none: it is not ready" in text


def test_its_events_and_the_last_of_its_log_stand_at_the_end():
    text = shown(chat())
    assert "07:59:00  ✖ chat/0  exited" in text
    lines = text.splitlines()
    log = lines[lines.index("LOG of chat/0") + 1 :]
    assert log == [line.text for line in LINES[-len(log) :]]
    assert lines[-1].startswith("WARNING")


def test_a_replica_can_be_pointed_at_and_so_can_the_whole():
    keys = list(dict.fromkeys(key for key in picture(chat()).keys if key))
    assert keys == ["chat", "chat/0", "chat/1"]


def test_with_the_width_clients_stand_beside_the_replicas():
    assert shown(chat(), width=250).splitlines()[3].endswith("CLIENTS")
    assert "\nCLIENTS\n" in shown(chat(), width=149)


def test_the_file_is_shown_as_it_is_written_with_its_numbers():
    text = shown(chat(), tab="File")
    assert "fleet.d/chat.yaml:1\n  1  # what most people talk to\n  2  kind: Model\n" in text
    assert '10  args: ["--max-num-seqs", 64]   # measured' in text


def test_the_words_of_a_file_are_coloured_by_what_they_are():
    (line,) = document_lines('name: "x"  # why\n', first=7, columns=40)
    assert [(cell.text, cell.style) for cell in line if cell.text.strip()] == [
        (" 7  ", "dim"),
        ("name", "accent"),
        (":", "dim"),
        ('"', "hue2"),
        ("x", "hue2"),
        ('"', "hue2"),
        ("# why", "dim"),
    ]


def test_a_long_line_of_a_file_is_folded_and_keeps_its_number():
    lines = [printed(line, colour=False) for line in document_lines(f"a: {'x' * 30}\nb: 1", first=9, columns=25)]
    assert lines == ["  9  a: xxxxxxxxxxxxxxxxx", "     xxxxxxxxxxxxx", " 10  b: 1"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("vllm", "serve", "m", "--port", "9000", "-q"), ["vllm serve m", "--port 9000", "-q"]),
        (("a", "--t", "-1", "--j", '{"a": 1}'), ["a", "--t -1", "--j '{\"a\": 1}'"]),
        ((), []),
        (("--x",), ["--x"]),
    ],
)
def test_a_command_is_told_an_option_a_line(argv, told):
    assert options(argv) == told


def test_how_it_was_started_hides_secrets():
    text = shown(chat(), tab="Launch")
    assert (
        "chat/0  run 3, under process, gpu 0, port 9000\n  /usr/bin/vllm serve /var/lib/holdfast/models/Qwen3-32B\n"
        in text
    )
    assert "\n    --max-model-len 32768\n    --enable-prefix-caching\n" in text
    assert "\n  HF_TOKEN={secret: hf-token}\n" in text


def test_its_runs_say_how_each_ended():
    lines = shown(chat(), tab="Runs").splitlines()[3:]
    assert lines[0].split() == ["SLOT", "RUN", "BEGAN", "LASTED", "LOG", "HOW", "IT", "ENDED"]
    assert lines[1].split()[3:] == ["1h06m", "88K", "runs"]
    assert "torch.OutOfMemoryError: CUDA out of memory" in " ".join(" ".join(lines).split())
    assert "the first failure of a row: was killed by signal 9" in " ".join(" ".join(lines).split())


def test_only_what_runs_is_said_to_do_well():
    styles = {line[-1].text.strip(): line[-1].style for line in picture(chat(), tab="Runs").lines[4:]}
    assert styles["runs"] == "good"
    assert styles["how it ended is not known"] == ""


def test_when_each_run_began_is_never_cut():
    runs = (replace(run, slot=f"deepseek-r1-distill-70b/{run.slot[-1]}") for run in about().runs)
    lines = shown(chat(), replace(TOLD, about=replace(about(), runs=tuple(runs))), tab="Runs", width=77).splitlines()
    assert any(" 2027-01-14 07:00:00 " in line for line in lines), lines


def test_what_nobody_has_asked_anything_has_no_charts():
    past = Past()
    for number in range(9):
        past.add(Live(now=100.0 + number, traffic={"chat": Wanted(traffic=Traffic())}), {})
    of = status(workload("chat"), gateway=UP)
    quiet = world(Machine(name="", status=of, live=Live(now=109.0), past=past))
    text = shown(quiet)
    assert "0 in flight · 0 waiting · 0 failed/s · 0 answered\nnobody has asked it anything yet\n" in text
    assert "requests/s" not in text
    rested = Live(now=109.0, traffic={"chat": Wanted(traffic=Traffic(total=1))})
    assert "requests/s" in shown(world(Machine(name="", status=of, live=rested, past=past))), "it was asked before"


def test_what_is_not_known_yet_is_asked_and_what_cannot_be_is_said():
    for tab in TABS[1:]:
        assert shown(chat(), Told(), tab=tab).endswith("asking …")
        assert shown(chat(), Told(about_error="lost the daemon"), tab=tab).endswith("lost the daemon")
        assert "✖ as it was last told: lost the daemon" in shown(
            chat(), replace(TOLD, about_error="lost the daemon"), tab=tab
        )
    assert "cannot read it: gone" in shown(chat(), replace(TOLD, log_error="cannot read it: gone"))
    assert "it has written nothing yet" in shown(chat(), replace(TOLD, log=()))
    assert "nothing of it was started" in shown(chat(), Told(about=About(name="chat")), tab="Launch")
    assert "nothing of it has run yet" in shown(chat(), Told(about=About(name="chat")), tab="Runs")
    assert "no file declares it" in shown(chat(), Told(about=About(name="chat")), tab="File")


def test_of_what_never_was_in_the_fleet_the_place_of_the_mistake_is_shown():
    problem = Problem(
        path="fleet.d/bad.yaml", line=2, column=7, key="name", message="cannot hold a space", names=("bad",)
    )
    never = replace(workload("bad", ready=0), kind="", engine="", source="", priority=0, replicas=())
    of = world(Machine(name="", status=status(never, problems=(problem,))))
    unknown = Told(about_error="no workload has such a name", log_error="no workload has such a name")
    page = shown(of, unknown, tab="File", key="/bad").splitlines()
    assert page[0].endswith("its file cannot be taken")
    assert page[3:] == ["fleet.d/bad.yaml:2:7: name: cannot hold a space"]
    assert "no workload has such a name" not in shown(of, unknown, key="/bad")


def test_what_is_gone_or_away_says_so():
    assert shown(chat(), key="/gone").splitlines()[0] == "gone  is no longer here"
    assert shown(world(machine(None)), key="/chat").splitlines()[0] == "chat  asking …"
    assert "✖ as it was last told: cannot reach it" in shown(chat(away="cannot reach it"))


def test_a_click_finds_the_page():
    drawn = picture(chat())
    assert [tab_at(drawn, x, 1) for x in (0, 11, 16, 25)] == ["Overview", "Overview", "File", "Launch"]
    assert tab_at(drawn, 0, 0) == ""
    assert tab_at(drawn, 99, 1) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (3.14, "3.1"),
        (12.0, "12"),
        (340.4, "340"),
        (15_000, "15k"),
        (2.1e6, "2M"),
        (nan, "?"),
        (inf, "?"),
    ],
)
def test_a_figure_is_short(value: float, text: str):
    assert figure(value) == text
    assert len(figure(value)) <= 5


def test_a_plot_has_a_scale_that_seldom_changes_and_says_since_when():
    meter = Meter(title="requests/s", samples=(1.0, 4.0, 3.0), count=3, seconds=120)
    lines = [printed(line, colour=False) for line in plot(meter, columns=30, rows=3)]
    assert lines[0] == "requests/s           3  most 4"
    assert lines[1].startswith("    5 ┤")
    assert lines[-2].startswith("    0 ┤")
    assert lines[-1] == "       2m ago              now"
    nothing = [printed(line, colour=False) for line in plot(replace(meter, samples=(nan, inf)), columns=30)]
    assert nothing[0].endswith("-  nothing yet")


@pytest.mark.parametrize("width", [60, 77, 100, 149, 150, 247])
def test_no_line_is_wider_than_the_screen(width):
    long = replace(TOLD, about=replace(about(), runs=(Run(
        slot="chat/0", run=1, began=WALL, ended=nan, outcome="x" * 500, first_failure=True, size=2**70),)))  # fmt: skip
    for tab in TABS:
        for line in picture(chat(), long, tab=tab, width=width).lines:
            assert sum(wide(cell.text) for cell in line) <= width


def test_hostile_worlds_do_no_harm():
    for _, of in all_worlds():
        for row in list(of.rows())[:25]:
            text = shown(of, key=row.key)
            assert clean(text) == text
