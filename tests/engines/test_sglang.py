"""SGLang: what it takes of its cards, and what it is asked to sleep, to wake, and to change its adapters."""

import pytest

from reconciler import engines
from reconciler.engines.memory import estimate, runtime
from reconciler.model.plan import Launch
from tests.engines.test_launches import launched
from tests.engines.test_memory import hub, model
from tests.plan.world import GIB, fleet, gpu

MIB = 2**20
BASE = "kind: Model\nname: a\nsource: hf:o/x\nengine: sglang\n"


def share(made: Launch | engines.Refusal) -> float | None:
    """What its command line says of `--mem-fraction-static`."""
    assert isinstance(made, Launch)
    flag = "--mem-fraction-static"
    return float(made.argv[made.argv.index(flag) + 1]) if flag in made.argv else None


def test_weights_and_a_request_of_full_length_as_for_vllm_and_room_to_compute_by_its_own_rule() -> None:
    made = estimate(model("context: 8192", engine="sglang"), hub(), [gpu(0)])
    one = made.gpus[0]
    assert (one.weights, one.cache) == (15316 * MIB, GIB)
    assert one.compute == (512 + 8192 * 3 // 2 + 2 * 256 + 128) * MIB
    assert made.uncertainty == 0.1
    assert made.host.total == runtime(model("", engine="sglang"), 1) > 0


@pytest.mark.parametrize(
    ("args", "memory", "compute"),
    [
        ("", 24, 512 + 2048 * 3 // 2 + 2 * 24 + 128),
        ("--disable-cuda-graph", 24, 512 + 2048 * 3 // 2 + 128),
        ("--chunked-prefill-size=8192", 24, 512 + 8192 * 3 // 2 + 2 * 24 + 128),
        ("", 192, 512 + 16384 * 3 // 2 + 2 * 512 + 128),
    ],
)
def test_room_to_compute_grows_with_the_card_and_the_chunk(args: str, memory: int, compute: int) -> None:
    made = estimate(model(f"context: 8192\nargs: ['{args}']", engine="sglang"), hub(), [gpu(0, memory=memory)])
    assert made.gpus[0].compute == compute * MIB


def test_what_it_is_promised_is_said_as_a_share_of_what_is_free() -> None:
    """So that weights, cache, and what it computes in, are together what was promised."""
    text = f"{BASE}memory: 12GiB"
    alone, beside = (share(launched(fleet(text), gpus=(gpu(0, memory=24, used=used),))) for used in (0, 8))
    beyond, context = (512 + 3072 + 48 + 128) * MIB, 600 * MIB
    assert alone == pytest.approx((12 * GIB - beyond - context) / (24 * GIB - context), abs=1e-4)
    assert beside == pytest.approx((12 * GIB - beyond - context) / (16 * GIB - context), abs=1e-4)


def test_with_a_card_to_itself_it_decides_by_itself() -> None:
    assert share(launched(fleet(BASE), gpus=(gpu(0),))) is None


@pytest.mark.parametrize(("memory", "expected"), [("1GiB", 0.05), ("80GiB", 0.95)])
def test_a_share_stays_one_that_it_takes(memory: str, expected: float) -> None:
    used = 0 if memory == "1GiB" else 40
    assert share(launched(fleet(f"{BASE}memory: {memory}"), gpus=(gpu(0, used=used),))) == expected


def test_only_one_that_may_sleep_is_given_the_flags_for_it() -> None:
    for action in ("sleep", "stop"):
        made = launched(fleet(f"{BASE}idle_action: {action}"), gpus=(gpu(0),))
        assert isinstance(made, Launch)
        given = [flag in made.argv for flag in ("--enable-memory-saver", "--enable-weights-cpu-backup")]
        assert given == [action == "sleep"] * 2
        assert (made.sleeper is not None) == (action == "sleep")


def test_a_probe_of_it_is_not_a_request() -> None:
    made = launched(fleet(BASE), gpus=(gpu(0),))
    assert isinstance(made, Launch)
    assert made.env["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] == "false"


LAW = "{name: law, source: 'file:/m/law'}"


def test_it_changes_adapters_only_where_it_was_started_with_any() -> None:
    attaching = engines.attaching("sglang")
    assert attaching is not None
    without, made = (launched(fleet(f"{BASE}adapters: [{text}]"), gpus=(gpu(0),)) for text in ("", LAW))
    assert isinstance(without, Launch)
    assert isinstance(made, Launch)
    assert (attaching.able(without), attaching.able(made)) == (False, True)
    asked = [(request.path, dict(request.body), request.also) for request in attaching.attach("sql", "hf:org/sql")]
    assert asked == [
        ("/unload_lora_adapter", {"lora_name": "sql"}, (400,)),
        ("/load_lora_adapter", {"lora_name": "sql", "lora_path": "org/sql"}, ()),
    ]
    assert not attaching.crowded(made, 1)
    assert attaching.crowded(made, 2) == "2 take turns for 1 in a batch (--max-loras-per-batch)"


def test_it_can_be_started_again_with_the_adapters_that_it_has_then() -> None:
    made = launched(fleet(f"{BASE}adapters: [{LAW}]\nargs: [--x]"), gpus=(gpu(0),))
    assert isinstance(made, Launch)
    end = ("--enable-lora", "--max-loras-per-batch", "2", "--x")
    two = engines.with_adapters(made, {"law": "file:/m/law", "sql": "hf:org/sql"})
    assert two.argv[-7:] == ("--lora-paths", "law=/m/law", "sql=org/sql", *end)
    none = engines.with_adapters(two, {})
    assert none.argv[-8:] == ("--max-lora-rank", "64", "--lora-target-modules", "all", *end)
    assert engines.with_adapters(none, {"law": "file:/m/law"}).argv == made.argv
