"""A secret is found by its name where it may be kept, and nothing says its value."""

import os

import pytest

from reconciler.act.secrets import resolver
from reconciler.model.errors import TerminalError
from reconciler.model.status import Reason


@pytest.fixture
def state(tmp_path):
    directory = tmp_path / "secrets"
    directory.mkdir(mode=0o700)
    return tmp_path


def test_a_credential_goes_before_a_file_and_a_file_before_a_variable(state):
    credentials = state / "credentials"
    credentials.mkdir()
    environ = {"hf-token": "exact", "HF_TOKEN": "upper", "CREDENTIALS_DIRECTORY": str(credentials)}
    secret = resolver(str(state), environ)
    del environ["hf-token"]
    assert secret("hf-token") == "upper"
    environ["hf-token"] = "exact"
    assert secret("hf-token") == "exact"
    for end in ("\n", "\r\n"):
        (state / "secrets" / "hf-token").write_text(f"from file{end}", newline="")
        assert secret("hf-token") == "from file"
    (credentials / "hf-token").write_text("from credential")
    assert secret("hf-token") == "from credential"


def test_a_missing_secret_says_where_to_put_it(state):
    with pytest.raises(TerminalError, match="hf-token.*HF_TOKEN") as caught:
        resolver(str(state), {})("hf-token")
    assert caught.value.reason is Reason.SecretMissing
    assert str(state / "secrets" / "hf-token") in str(caught.value)


def test_a_directory_that_others_can_look_into_is_refused(state):
    (state / "secrets" / "token").write_text("canary")
    (state / "secrets").chmod(0o750)
    with pytest.raises(TerminalError, match="chmod 700") as caught:
        resolver(str(state), {})("token")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["../token", ".hidden", "a/b"])
def test_a_name_cannot_lead_out_of_the_directory(state, name):
    with pytest.raises(TerminalError, match="no name of a file"):
        resolver(str(state), {name: "x"})(name)


def test_a_link_a_pipe_and_a_heap_are_refused(state):
    secrets = state / "secrets"
    (state / "elsewhere").write_text("canary")
    (secrets / "link").symlink_to(state / "elsewhere")
    os.mkfifo(secrets / "pipe")
    (secrets / "heap").write_bytes(b"canary" * 10_000)
    (secrets / "binary").write_bytes(b"canary\xff")
    (secrets / "nul").write_bytes(b"canary\0")
    for name in ("link", "pipe", "heap", "binary", "nul"):
        with pytest.raises(TerminalError) as caught:
            resolver(str(state), {})(name)
        assert "canary" not in str(caught.value) + repr(caught.value)
