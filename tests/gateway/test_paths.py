"""Which requests lead to an engine, and that the path which does is never the client's."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gateway.paths import INFERENCE, OWN, Operation, find
from reconciler.gateway.refusal import Refusal

CONSTANT = [one for one in INFERENCE if one.model_in != "path"]
KNOWN = {one.path for one in INFERENCE} | {one.path for one in OWN}


@pytest.mark.parametrize("one", CONSTANT, ids=lambda one: one.path.decode())
def test_an_inference_path_is_asked_with_post_and_goes_on_as_it_is(one: Operation):
    assert find(b"POST", one.path) is one
    assert one.sent("any") == one.path
    assert one.kind == "inference"
    assert one.role == "inference"
    refused = find(b"GET", one.path)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.param) == (405, "POST")


def test_paths_are_in_the_table_once():
    assert len({one.path for one in (*INFERENCE, *OWN)}) == len(INFERENCE) + len(OWN)


@pytest.mark.parametrize(
    ("method", "path", "kind", "role", "named"),
    [
        (b"GET", b"/v1/models", "models", "inference", ""),
        (b"HEAD", b"/v1/models", "models", "inference", ""),
        (b"GET", b"/v1/models/chat", "model", "inference", "chat"),
        (b"GET", b"/v1/models/Qwen/Qwen3-8B", "model", "inference", "Qwen/Qwen3-8B"),
        (b"GET", b"/v1/models/Qwen%2FQwen3-8B", "model", "inference", "Qwen/Qwen3-8B"),
        (b"GET", b"/health", "health", None, ""),
        (b"GET", b"/metrics", "metrics", "metrics", ""),
    ],
)
def test_what_the_gateway_answers_itself(method: bytes, path: bytes, kind: str, role: str | None, named: str):
    found = find(method, path)
    assert isinstance(found, Operation)
    assert (found.kind, found.role, found.named) == (kind, role, named)


@pytest.mark.parametrize(
    ("path", "named", "sent"),
    [
        (b"/v2/models/chat/infer", "chat", b"/v2/models/chat/infer"),
        (b"/v2/models/a%2fb/generate", "a/b", b"/v2/models/a%2Fb/generate"),
        (b"/v2/models/a/b/generate_stream", "a/b", b"/v2/models/a%2Fb/generate_stream"),
        (b"/v2/models/../infer", "..", b"/v2/models/../infer"),  # a name that no model has
        (b"/v2/models/x%3Fy/infer", "x?y", b"/v2/models/x%3Fy/infer"),
    ],
)
def test_a_name_in_the_path_is_written_anew(path: bytes, named: str, sent: bytes):
    found = find(b"POST", path)
    assert isinstance(found, Operation)
    assert found.named == named
    assert found.sent(named) == sent
    assert found.sent("an engine's name") == sent.replace(sent.split(b"/")[3], b"an%20engine%27s%20name")
    refused = find(b"GET", path)
    assert isinstance(refused, Refusal)
    assert refused.status == 405


@pytest.mark.parametrize(
    "path",
    [
        # what engines have for their operators
        "/sleep", "/wake_up", "/is_sleeping", "/collective_rpc", "/reset_prefix_cache", "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter", "/load_lora_adapter", "/scale_elastic_ep", "/server_info", "/start_profile",
        "/slots", "/slots/0", "/props", "/lora-adapters", "/models/load", "/models/unload", "/cors-proxy", "/tools",
        "/flush_cache", "/update_weights", "/update_weights_from_disk", "/release_memory_occupation", "/open_session",
        "/get_model_info", "/configure_logging", "/abort_request", "/set_internal_state", "/info", "/invocations",
        "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/show", "/api/tags", "/api/ps",
        "/v2/repository/index", "/v2/repository/models/chat/load", "/v2/models/chat/config", "/v2/models/chat",
        "/v2/systemsharedmemory/status", "/v2/logging", "/v2/trace/setting", "/v2/models/chat/versions/1/load",
        "/docs", "/openapi.json", "/", "", "*",
        # spellings
        "/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions", "/v1/./chat/completions",
        "/v1/x/../chat/completions", "/v1/chat/completions;a=b", "/v1/chat%2Fcompletions", "/v1/ch%61t/completions",
        "/V1/chat/completions", "/v1/chat/completions%00", "/v1/chat/completions ", "/v1/chat/completions#x",
        "http://other.example/v1/chat/completions", "/v1/models/../../sleep%0d%0a", "/health/", "/metrics/",
        "/v2/models/chat/infer/", "/v2/models//infer", "/v2/models/%ff/infer", "/v2/models/a%0ab/infer",
        "/v2/models/" + "x" * 257 + "/infer", "/v1/models/", "/v1/models/%00", "/v1/models/a%7fb",
    ],
)  # fmt: skip
def test_nothing_else_is_found_whatever_the_method(path: str):
    for method in (b"GET", b"POST", b"DELETE", b"PUT", b"OPTIONS"):
        refused = find(method, path.encode())
        if path.startswith("/v1/models/.."):  # a name that no model has: looked up, never sent on
            continue
        assert isinstance(refused, Refusal), path
        assert refused.status == 404


def test_the_manual_lists_these_paths_and_no_others():
    manual = (Path(__file__).parents[2] / "docs" / "requests.md").read_text()
    listed = re.findall(r"`(/[a-z][^` ]*)`", manual.partition("## Paths")[2].partition("\n## ")[0])
    assert sorted(listed) == sorted(one.path.decode().replace("{}", "NAME") for one in (*INFERENCE, *OWN))


def test_who_errs_is_told_the_nearest_path():
    refused = find(b"POST", b"/chat/completions")
    assert isinstance(refused, Refusal)
    assert "/v1/chat/completions is the nearest" in refused.message
    refused = find(b"POST", b"/\xff\xfe")
    assert isinstance(refused, Refusal)
    assert "/v1/chat/completions is one" in refused.message
    refused = find(b"GET", b"/v1/")
    assert isinstance(refused, Refusal)
    assert "GET /v1/models lists models" in refused.message


PIECES = st.sampled_from(
    [b"/", b"//", b"..", b".", b";", b"%2e", b"%2f", b"%00", b"v1", b"v2", b"models", b"chat", b"infer", b"?", b"\xff",
     b"completions", b"sleep", b"%", b"\r\n", b" ", b"http://x", b"repository"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=8).map(b"".join), st.sampled_from([b"GET", b"POST", b"PUT"]))
def test_what_is_sent_is_of_the_table_whatever_is_asked(path: bytes, method: bytes):
    found = find(method, path)
    if isinstance(found, Operation):
        assert found.path in KNOWN
        sent = found.sent("m")
        assert sent in {known.replace(b"{}", b"m") for known in KNOWN}
    else:
        assert found.status in {404, 405}
