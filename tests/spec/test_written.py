"""What a person is shown of the files: the documents that declare a workload, as they stand now."""

import os
from pathlib import Path

import pytest

from reconciler.spec.load import Loader
from reconciler.spec.written import written

HEAD = "# yaml-language-server: $schema=../schemas/fleet.schema.json\n"
CHAT = "# the big one\nkind: Model\nname: chat\nsource: file:/a.gguf\n"
TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
ENGINE = "kind: Engine\nname: mine\ncommand: [serve, '{port}']\n"


def shown(root: Path, name: str, *, then: dict[str, str | None] | None = None):
    """Path, first line and text of what declares it, after these files have been changed since they were believed."""
    loader = Loader(str(root), clock=lambda: 0.0, patient=False)
    fleet = loader.load().fleet
    for path, text in (then or {}).items():
        root.joinpath(path).unlink() if text is None else root.joinpath(path).write_text(text)
    return [(one.path, one.line, one.text) for one in written(str(root), loader.holders, fleet, name)]


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "fleet.d"
    (made / "more").mkdir(parents=True)
    return made


def test_a_document_is_shown_with_its_comments_and_where_it_begins(root):
    root.joinpath("more/all.yaml").write_text(f"{HEAD}---\n{CHAT}---\n{TINY}")
    assert shown(root, "chat") == [("fleet.d/more/all.yaml", 3, CHAT.rstrip())]
    assert shown(root, "tiny") == [("fleet.d/more/all.yaml", 8, TINY.rstrip())]


def test_a_file_of_one_document_is_shown_whole(root):
    root.joinpath("chat.yaml").write_text(HEAD + CHAT)
    assert shown(root, "chat") == [("fleet.d/chat.yaml", 1, (HEAD + CHAT).rstrip())]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        (f"---\n{TINY}...\n# nothing\n", 2, TINY.rstrip()),
        ("--- {kind: Service, name: tiny, command: [a]}\n", 1, "--- {kind: Service, name: tiny, command: [a]}"),
        (f"--- # here\n{TINY}", 1, f"--- # here\n{TINY.rstrip()}"),
        ("kind: Service\r\nname: tiny\r\ncommand: [a]\r\n---\r\n", 1, "kind: Service\r\nname: tiny\r\ncommand: [a]"),
        (f'{CHAT}---\n{TINY}env: {{A: "--- b"}}\n', 6, f'{TINY}env: {{A: "--- b"}}'),
        (
            '{"kind": "Service", "name": "tiny",\n "command": ["a"]}',
            1,
            '{"kind": "Service", "name": "tiny",\n "command": ["a"]}',
        ),
    ],
    ids=["between marks", "behind its mark", "a comment behind its mark", "of Windows", "dashes within", "JSON"],
)
def test_documents_end_where_yaml_says(root, text, line, part):
    root.joinpath("a.yaml").write_bytes(text.encode())
    assert shown(root, "tiny") == [("fleet.d/a.yaml", line, part)]


def test_the_engine_that_a_model_runs_by_is_shown_after_it(root):
    model = "kind: Model\nname: own\nsource: file:/a\nengine: mine\n"
    root.joinpath("a.yaml").write_text(f"{ENGINE}---\n{model}")
    assert shown(root, "own") == [("fleet.d/a.yaml", 5, model.rstrip()), ("fleet.d/a.yaml", 1, ENGINE.rstrip())]


def test_it_is_shown_as_it_stands_now_whatever_is_believed(root):
    root.joinpath("a.yaml").write_text(TINY)
    moved = f"{CHAT}---\n{TINY}replicas: 2\n"
    assert shown(root, "tiny", then={"a.yaml": moved}) == [("fleet.d/a.yaml", 6, f"{TINY}replicas: 2")]
    assert shown(root, "tiny", then={"a.yaml": None}) == []


def test_what_is_wrong_is_shown_all_the_same(root):
    wrong = TINY + "replicaz: 2\n"
    root.joinpath("a.yaml").write_text(f"{CHAT}---\n{wrong}")
    assert shown(root, "tiny") == [("fleet.d/a.yaml", 6, wrong.rstrip())]


@pytest.mark.parametrize("broken", ["name: tiny\nkind: [", "a: 1\n", "kind: Service\nname: other\n", "\x01"])
def test_a_file_in_which_it_cannot_be_found_any_more_is_shown_whole(root, broken):
    root.joinpath("a.yaml").write_text(TINY)
    assert shown(root, "tiny", then={"a.yaml": broken}) == [("fleet.d/a.yaml", 1, broken.rstrip())]


def test_of_two_places_both_are_shown(root):
    root.joinpath("a.yaml").write_text(TINY)
    root.joinpath("b.yaml").write_text(f"{CHAT}---\n{TINY}")
    assert [(path, line) for path, line, _ in shown(root, "tiny")] == [("fleet.d/a.yaml", 1), ("fleet.d/b.yaml", 6)]


def test_nothing_but_a_file_of_the_fleet_is_read(root, tmp_path):
    """However the directory changes meanwhile."""
    secret = tmp_path / "secret"
    secret.write_text(TINY)
    root.joinpath("a.yaml").write_text(TINY)
    loader = Loader(str(root), clock=lambda: 0.0, patient=False)
    fleet = loader.load().fleet
    root.joinpath("a.yaml").unlink()
    root.joinpath("a.yaml").symlink_to(secret)
    assert written(str(root), loader.holders, fleet, "tiny") == ()
    root.joinpath("a.yaml").unlink()
    root.joinpath("a.yaml").write_bytes(b"\xff" + TINY.encode())
    assert written(str(root), loader.holders, fleet, "tiny") == ()
    os.rename(root, tmp_path / "gone")
    assert written(str(root), loader.holders, fleet, "tiny") == ()


def test_of_what_nobody_declares_nothing_is_shown(root):
    root.joinpath("a.yaml").write_text(TINY)
    assert shown(root, "chat") == []
