"""What engines say of themselves, in common words. Texts as their servers wrote them, shortened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engines import DIALECTS
from reconciler.model.metrics import Histogram, Metrics

LLAMACPP = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 120
llamacpp:tokens_predicted_total 64
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
llamacpp:predicted_tokens_seconds 88.5
"""

VLLM = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="chat"} 3.0
vllm:num_requests_running{engine="1",model_name="chat"} 1.0
vllm:num_requests_waiting{engine="0",model_name="chat"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="chat"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="chat"} 0.5
vllm:prompt_tokens_total{engine="0",model_name="chat"} 1.2e+04
vllm:generation_tokens_total{engine="0",model_name="chat"} 3000.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="chat"} 8.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="chat"} 10.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="chat"} 10.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="chat"} 10.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="chat"} 1.5
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.1",model_name="chat"} 1.0
vllm:time_to_first_token_seconds_count{engine="1",model_name="chat"} 2.0
vllm:time_to_first_token_seconds_sum{engine="1",model_name="chat"} 0.5
vllm:inter_token_latency_seconds_count{engine="0",model_name="chat"} 0.0
vllm:inter_token_latency_seconds_sum{engine="0",model_name="chat"} 0.0
vllm:e2e_request_latency_seconds_count{engine="0",model_name="chat"} 4.0
vllm:e2e_request_latency_seconds_sum{engine="0",model_name="chat"} 8.0
"""

SGLANG = """\
sglang:num_running_reqs{engine_type="unified",model_name="chat",pp_rank="0",tp_rank="0"} 2.0
sglang:num_queue_reqs{engine_type="unified",model_name="chat",pp_rank="0",tp_rank="0"} 5.0
sglang:token_usage{engine_type="unified",model_name="chat",pp_rank="0",tp_rank="0"} 0.125
sglang:prompt_tokens_total{model_name="chat"} 700.0
sglang:generation_tokens_total{model_name="chat"} 300.0
sglang:time_to_first_token_seconds_sum{model_name="chat"} 3.0
sglang:time_to_first_token_seconds_count{model_name="chat"} 6.0
sglang:inter_token_latency_seconds_sum{model_name="chat"} 4.0
sglang:inter_token_latency_seconds_count{model_name="chat"} 200.0
sglang:e2e_request_latency_seconds_sum{model_name="chat"} 12.0
sglang:e2e_request_latency_seconds_count{model_name="chat"} 6.0
"""


TGI = """\
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 2
# TYPE tgi_queue_size gauge
tgi_queue_size 1
tgi_request_input_length_bucket{le="64"} 1
tgi_request_input_length_sum 500
tgi_request_input_length_count 3
tgi_request_generated_tokens_sum 60
tgi_request_generated_tokens_count 3
tgi_request_mean_time_per_token_duration_sum 0.06
tgi_request_mean_time_per_token_duration_count 3
tgi_request_duration_bucket{le="0.5"} 1
tgi_request_duration_sum 3
tgi_request_duration_count 3
"""

TRITON = """\
{"model_stats":[{"name":"chat","version":"1","inference_count":4,"inference_stats":{"success":{"count":4,"ns":2000000000},
"fail":{"count":0,"ns":0},"queue":{"count":4,"ns":1000}}},
{"name":"chat","version":"2","inference_stats":{"success":{"count":1,"ns":500000000}}}]}
"""


def read(engine: str, text: str) -> Metrics:
    metering = DIALECTS[engine].metering
    assert metering is not None
    return metering.read(text)


def test_llama_cpp_counts_requests_and_tokens() -> None:
    assert read("llamacpp", LLAMACPP) == Metrics(running=1, waiting=2, prompt_tokens=120, generated_tokens=64)


def test_vllm_tells_everything_and_its_engines_are_one() -> None:
    assert read("vllm", VLLM) == Metrics(
        running=4,
        waiting=0,
        cache=0.5,
        prompt_tokens=12000,
        generated_tokens=3000,
        first_token=Histogram(count=12, sum=2.0, buckets=((0.1, 9), (1.0, 10))),
        next_token=Histogram(count=0, sum=0.0),
        request=Histogram(count=4, sum=8.0),
    )


def test_sglang_tells_everything() -> None:
    found = read("sglang", SGLANG)
    assert (found.running, found.waiting, found.cache) == (2, 5, 0.125)
    assert (found.prompt_tokens, found.generated_tokens) == (700, 300)
    assert [each.mean for each in (found.first_token, found.next_token, found.request) if each] == [0.5, 0.02, 2.0]


def test_tgi_tells_no_first_token_and_no_cache() -> None:
    found = read("tgi", TGI)
    assert (found.running, found.waiting, found.cache) == (2, 1, None)
    assert (found.prompt_tokens, found.generated_tokens, found.first_token) == (500, 60, None)
    assert found.next_token == Histogram(count=3, sum=0.06)
    assert found.request == Histogram(count=3, sum=3.0, buckets=((0.5, 1),))


def test_triton_tells_how_long_requests_took_all_versions_of_a_model_together() -> None:
    assert read("triton", TRITON) == Metrics(request=Histogram(count=5, sum=2.5))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_stats": 1}', '{"model_stats": [{}]}', "[" * 100_000])
def test_statistics_that_are_none_are_none(text: str) -> None:
    assert read("triton", text) == Metrics()


@pytest.mark.parametrize(
    ("engine", "text", "new", "old"),
    [
        ("vllm", VLLM, "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        ("vllm", VLLM, "vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
        ("sglang", SGLANG, "sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
    ],
)
def test_an_older_version_has_other_names_for_the_same(engine: str, text: str, new: str, old: str) -> None:
    older = text.replace(new, old)
    assert read(engine, older) == read(engine, text) != read(engine, text.replace(new, "x"))
    # where both are there, it is not counted twice
    assert read(engine, text + older) == read(engine, older + text)
    assert read(engine, text + older).cache == read(engine, text).cache


def test_nothing_counted_has_no_mean() -> None:
    found = read("vllm", VLLM)
    assert found.next_token is not None
    assert found.next_token.mean is None


@pytest.mark.parametrize("text", ["", "vllm:num_requests_running", "vllm:num_requests_running{ 3", "<html></html>"])
def test_what_is_no_metric_is_none(text: str) -> None:
    assert read("vllm", text) == Metrics()


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e300", "many"])
def test_a_value_that_only_a_liar_would_give_counts_nothing(value: str) -> None:
    text = f"vllm:num_requests_running {value}\nvllm:num_requests_waiting 1 1700000000000\n"
    assert read("vllm", text) == Metrics(waiting=1)


def test_a_line_without_end_costs_no_more_than_its_beginning() -> None:
    text = 'vllm:num_requests_running{model_name="' + "}" * 5_000_000 + '"} 1\nvllm:num_requests_waiting 1\n'
    assert read("vllm", text) == Metrics(waiting=1)


@given(
    st.lists(
        st.text(max_size=80) | st.sampled_from((LLAMACPP + VLLM + SGLANG + TGI + TRITON).splitlines()), max_size=30
    )
)
def test_whatever_an_engine_says_is_read_without_an_error(lines: list[str]) -> None:
    for engine, dialect in DIALECTS.items():
        if dialect.metering is not None:
            assert read(engine, "\n".join(lines)).running != -1
