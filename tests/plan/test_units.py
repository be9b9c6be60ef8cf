"""What a launch runs under, by what is declared and what the machine is: fleet, machine, plan."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from reconciler.model.observation import Exited, Observation
from tests.plan.world import HOST, NOW, decide, fleet, instance, machine, text

TINY = "kind: Service\nname: tiny\ncommand: [sleep, infinity]\n"
INSTALLED = replace(HOST, auto="systemd")
NOT_BOOTED = replace(HOST, no_units="this machine was not booted with systemd; write runtime: process")
SILENT = {"systemd": "cannot reach systemd: it has not answered in time"}


@dataclass(frozen=True, kw_only=True)
class Case:
    situation: str
    fleet: str
    on: Callable[[], Observation]
    plan: str


def ran(ended: Exited | None = None) -> Observation:
    """Installed now; what runs was started before that."""
    return machine(instance(fleet(TINY), "tiny/0", ended), host=INSTALLED)


CASES = [
    Case(
        situation="where Holdfast was installed, auto is a unit",
        fleet=TINY,
        on=lambda: machine(host=INSTALLED),
        plan="start tiny/0 under systemd: NotRunning",
    ),
    Case(
        situation="elsewhere auto is a process",
        fleet=TINY,
        on=machine,
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="a process that is asked for is one, installed or not",
        fleet=TINY + "runtime: process",
        on=lambda: machine(host=INSTALLED),
        plan="start tiny/0: NotRunning",
    ),
    Case(
        situation="a unit that is asked for is one, installed or not",
        fleet=TINY + "runtime: systemd",
        on=machine,
        plan="start tiny/0 under systemd: NotRunning",
    ),
    Case(
        situation="a unit that there cannot be is blocked, and what to do is told",
        fleet=TINY + "runtime: systemd",
        on=lambda: machine(host=NOT_BOOTED),
        plan="blocked tiny/0: NotSupported (cannot have a unit of systemd: this machine was not booted with systemd; "
        "write runtime: process)",
    ),
    Case(
        situation="what runs as a process is not restarted because auto is a unit by now",
        fleet=TINY,
        on=ran,
        plan="nothing to do",
    ),
    Case(
        situation="its next run is one",
        fleet=TINY,
        on=lambda: ran(Exited(at=NOW - 100, code=1, ready_for=90.0)),
        plan="start tiny/0 under systemd: Exited (exited with status 1)",
    ),
    Case(
        situation="a manager that does not answer keeps units from being started, and processes not",
        fleet=TINY + "---\nkind: Service\nname: other\ncommand: [sleep, infinity]\nruntime: process",
        on=lambda: replace(machine(host=INSTALLED), unseen=SILENT),
        plan="start other/0: NotRunning\nblocked tiny/0: Unknown (cannot reach systemd: it has not answered in time)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.situation)
def test_plan(case: Case) -> None:
    assert text(decide(fleet(case.fleet), case.on())) == case.plan


def test_another_runtime_is_another_instance() -> None:
    one, other = (fleet(TINY + f"runtime: {word}").workloads["tiny"] for word in ("process", "systemd"))
    assert one.fingerprint != other.fingerprint
