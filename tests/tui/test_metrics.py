"""What engines measure of themselves, as a person sees it."""

from reconciler.model.metrics import ReplicaMetrics
from tests.api.daemon import METRICS
from tui.view.metrics import metrics_text


def test_a_row_for_each_and_a_reason_where_there_is_none() -> None:
    assert metrics_text(METRICS, width=120, colour=False) == (
        "SLOT      ENGINE  RUNNING  WAITING  CACHE     READ  WRITTEN  FIRST TOKEN  NEXT TOKEN  REQUEST\n"
        "chat/0    vllm          2        0    25%     1200      340        250ms           -     3.0s\n"
        "own/0: none: it is not ready"
    )


def test_where_nothing_runs_it_says_so() -> None:
    assert metrics_text((), width=80, colour=False) == "no engine is up"


def test_what_an_engine_says_cannot_write_to_the_terminal() -> None:
    rude = ReplicaMetrics(slot="a/0", engine="x", detail="\x1b[2Jno")
    assert "\x1b" not in metrics_text([rude], width=80, colour=False)
