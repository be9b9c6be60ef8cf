"""The counts of all workers, past ones too, become one exposition that Prometheus can read."""

import re
from pathlib import Path

import pytest

from reconciler.gateway import metrics
from reconciler.gateway.observer import Observer
from reconciler.model.routing import Wanted
from tests.gateway.records import record, table


def worker(*records) -> metrics.Snapshot:
    """What a worker that saw these has counted, after its way to the master."""
    observer = Observer()
    observer.connected()
    for one in records:
        observer.ended(one)
    return metrics.decode(metrics.encode(observer.snapshot()))


def text(*snapshots: metrics.Snapshot, wanted: dict[str, Wanted] | None = None) -> str:
    whole = metrics.merge(snapshots)
    return metrics.text(whole, wanted or {}, version="0.1.0", workers=2, started=1_800_000_000.0, seen=7)


LABELS = 'model="chat",slot="chat/0",key="team"'


@pytest.mark.parametrize(
    "line",
    [
        f'holdfast_gateway_requests_total{{{LABELS},status="2xx"}} 2',
        f'holdfast_gateway_requests_total{{{LABELS},status="none"}} 1',
        f'holdfast_gateway_errors_total{{{LABELS},reason="client_left"}} 1',
        f"holdfast_gateway_read_tokens_total{{{LABELS}}} 36",
        f"holdfast_gateway_written_tokens_total{{{LABELS}}} 120",
        f"holdfast_gateway_received_bytes_total{{{LABELS}}} 1500",
        f"holdfast_gateway_sent_bytes_total{{{LABELS}}} 24000",
        f"holdfast_gateway_retries_total{{{LABELS}}} 1",
        f'holdfast_gateway_duration_seconds_bucket{{{LABELS},le="1.0"}} 0',
        f'holdfast_gateway_duration_seconds_bucket{{{LABELS},le="2.5"}} 3',
        f'holdfast_gateway_duration_seconds_bucket{{{LABELS},le="+Inf"}} 3',
        f"holdfast_gateway_duration_seconds_sum{{{LABELS}}} 6.0",
        f"holdfast_gateway_duration_seconds_count{{{LABELS}}} 3",
        f'holdfast_gateway_wait_seconds_bucket{{{LABELS},le="1.0"}} 1',
        f"holdfast_gateway_token_seconds_count{{{LABELS}}} 3",
        "holdfast_gateway_connections 2",
        "holdfast_gateway_connections_total 2",
        "holdfast_gateway_workers 2",
        "holdfast_gateway_table_seq 7",
        "holdfast_gateway_start_time_seconds 1800000000.000",
        'holdfast_gateway_info{version="0.1.0"} 1',
        'holdfast_gateway_in_flight{model="chat",slot="chat/0"} 3',
        'holdfast_gateway_waiting{model="chat"} 2',
        'holdfast_gateway_oldest_waiting_seconds{model="chat"} 1.500',
    ],
)
def test_the_figures_of_all_workers_are_one(line):
    wanted = {"chat": Wanted(waiting=2, oldest=1.5, in_flight={"chat/0": 3})}
    one, other = worker(record(), record(waited=0.7, retries=1)), worker(record(status=0, reason="client_left"))
    assert line in text(one, other, wanted=wanted).splitlines()


def test_every_line_is_a_sample_or_tells_of_those_that_follow():
    found = text(worker(record(), record(model="code", slot="code/0", status=500, reason="upstream_error")))
    name = ""
    for line in found.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name
            assert (line.split()[3] == "counter") == name.endswith("_total")
        else:
            sample, value = line.rsplit(" ", 1)
            assert sample.split("{")[0] in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count")
            float(value)


def test_every_metric_stands_in_the_manual_with_its_labels():
    manual = (Path(__file__).resolve().parent.parent.parent / "docs/metrics.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| (\w+ \| [\w, ]*)\|", manual, re.MULTILINE))
    one = worker(record(waited=1.0, status=500, reason="cut"))
    one.refused["connections"] = 1
    found = text(one, wanted={"chat": Wanted(in_flight={"chat/0": 1})})
    kinds = dict(line.split()[2:] for line in found.splitlines() if line.startswith("# TYPE "))
    labels: dict[str, str] = {}
    for line in found.splitlines():
        if not line.startswith("#"):
            name = re.sub("_(bucket|sum|count)$", "", line.split("{")[0].split()[0])
            labels[name] = ", ".join(one for one in re.findall(r'(\w+)="', line) if one != "le")
    assert {name: f"{kind} | {labels[name]}".strip() for name, kind in kinds.items()} == {
        name: text.strip() for name, text in told.items() if name.startswith("holdfast_")
    }


def test_names_cannot_break_a_label():
    found = text(worker(record(model='a"b\\c\nd', slot="", key="")))
    assert '{model="a\\"b\\\\c\\nd",slot="",key=""} 40' in found


def test_what_ended_workers_counted_is_kept_and_what_they_held_is_not():
    past = worker(record()).past
    whole = metrics.merge([past, worker(record())])
    assert (whole.series[0].classes[2], whole.connections, whole.opened) == (2, 1, 2)


def test_what_left_the_table_is_not_carried_on():
    whole = metrics.merge(
        [worker(record(), record(model="code", slot="code/0"), record(slot=""))], present=metrics.names(table("chat"))
    )
    assert [(one.model, one.slot) for one in whole.series] == [("chat", ""), ("chat", "chat/0")]


def test_merging_leaves_what_was_merged_as_it_was():
    one, other = worker(record()), worker(record())
    assert metrics.merge([one, other]) == metrics.merge([one, other])
    assert one == worker(record())
