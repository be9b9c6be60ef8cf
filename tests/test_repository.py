"""The house is in order: schemas current, the example fleets valid, what the documents name exists."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from reconciler.cli import install
from reconciler.model import gateway, kinds
from reconciler.model.fields import Spec
from reconciler.model.runtime import Docker
from reconciler.spec.load import load_once
from reconciler.spec.schema import fleet_schema

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = [*ROOT.glob("reconciler/**/*.py"), *ROOT.glob("tui/**/*.py")]
MADE = {".venv", ".venv-vllm", "bench-out"}
DOCUMENTS = [path for path in ROOT.glob("**/*.md") if not MADE & {*path.parts}]
FLEETS = (
    "fleet.d",
    "docs/example/fleet.d",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs/placement").iterdir() if path.is_dir()),
)


def test_the_schema_is_current() -> None:
    assert json.loads((ROOT / "schemas/fleet.schema.json").read_text()) == fleet_schema(), "run `make schema`"


@pytest.mark.parametrize("fleet", FLEETS)
def test_example_fleets_are_good(fleet: str) -> None:
    loaded = load_once(str(ROOT / fleet))
    assert loaded.problems == ()
    assert loaded.missing is None


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """Made, and looked through itself, once: that takes longer than a document."""
    made = fleet_schema()
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


@pytest.mark.parametrize(
    "path", [path for fleet in FLEETS for path in sorted((ROOT / fleet).glob("**/*.yaml"))], ids=str
)
def test_examples_obey_the_schema_and_name_it(path: Path, schema: Draft202012Validator) -> None:
    text = path.read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)", text)
    assert named, "its first line should name the schema"
    assert (path.parent / named[1]).resolve() == ROOT / "schemas/fleet.schema.json"
    for document in yaml.safe_load_all(text):
        schema.validate(document)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_named_in_documents_exist(path: Path) -> None:
    named = re.findall(r"`((?:reconciler|tui|tests|docs|schemas|systemd|fleet\.d)/[\w./-]+)`", path.read_text())
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    absent = [name for name in named if not (ROOT / name).exists()]
    absent += [link for link in links if not (path.parent / link).exists()]
    made_by_a_reader = {"fleet.d/chat.yaml"}
    assert not set(absent) - made_by_a_reader


PARTS: tuple[type[Spec], ...] = (
    *(kinds.Health, kinds.Update, kinds.Gpus, kinds.Replicas, kinds.Cache, kinds.MetricNames, Docker),
    *(gateway.Gateway, gateway.Limits, gateway.AccessKey, gateway.Certificate),
)


@pytest.mark.parametrize("kind", [*kinds.KINDS.values(), *PARTS])
def test_every_field_stands_in_the_manual(kind: type[Spec]) -> None:
    manual = (ROOT / "docs/language.md").read_text()
    for name, field in kind.model_fields.items():
        if name != "kind":
            assert field.description, f"{name} is not described"
            told = field.description.replace("\n", " ").replace("|", "\\|")
            assert f"| `{field.alias or name}` | {told} |" in manual


def test_every_command_stands_in_the_manual() -> None:
    from reconciler.cli.parser import _VERBS

    manual = (ROOT / "docs/language.md").read_text()
    for verb in (entry[0] for entry in _VERBS):
        assert re.search(rf"`(holdfast )?{verb}\b", manual), verb


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_small_and_hold_no_assert(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "which two ideas live in it?"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it turns into what"
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], "gone under python -O"


def test_the_loop_stays_short() -> None:
    assert (ROOT / "reconciler/loop.py").read_text().count("\n") <= 200


def test_the_units_leave_engines_alone_and_are_understood(tmp_path: Path) -> None:
    units = [tmp_path / Path(path).name for path in (install.UNIT, install.GATEWAY, *install.BROKER)]
    for unit in units:
        unit.write_text(install.unit(unit.name))
    assert "KillMode=process" in units[0].read_text().splitlines()
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_nothing_unpickles() -> None:
    for path in PRODUCT:
        assert "pickle" not in path.read_text()
        assert "shell=True" not in path.read_text()
