"""Verbs that need no daemon: check the files, plan, write down this machine, write the schemas."""

import argparse
import os
import tempfile
import time
from dataclasses import replace

from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.client import Client
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.facts import Facts
from reconciler.model.fleet import Fleet
from reconciler.model.memory import Memory
from reconciler.model.observation import Observation, Unknown
from reconciler.spec.load import load_once
from tui.view.clean import line
from tui.view.paint import counted


def validate(chosen: argparse.Namespace) -> int:
    """Check every file. Problems go to stderr, as `path:line:col: key: message`."""
    fleet = load_once(places(chosen, here=True).fleet)
    bad = bool(fleet.problems) or fleet.missing is not None
    if chosen.json:
        import json
        from dataclasses import asdict

        found = {
            "root": fleet.root,
            "good": sorted(fleet.workloads),
            "missing": fleet.missing,
            "problems": [asdict(problem) for problem in fleet.problems],
        }
        Screen().say(json.dumps(found, ensure_ascii=False))
        return int(bad)
    for problem in fleet.problems:
        warn(line(str(problem)))
    if fleet.missing is not None:
        warn(f"holdfast: {line(fleet.missing)}")
    good = [counted(count, noun) for noun, count in _kinds(fleet).items() if count]
    files = {workload.source.path for workload in fleet.workloads.values()}
    broken = {problem.path for problem in fleet.problems}
    parts = [f"{', '.join(good) or 'nothing'} good in {counted(len(files), 'file')}"]
    parts += [f"{counted(len(fleet.problems), 'problem')} in {counted(len(broken), 'file')}"] if broken else []
    Screen().say(f"{line(fleet.root)}: {'; '.join(parts)}")
    return int(bad)


def plan(chosen: argparse.Namespace) -> int:
    """Show what would happen. See the language for exit statuses."""
    from reconciler.plan.road import road as plan_road

    where, screen = places(chosen, here=True), Screen()
    fleet = load_once(where.fleet)
    facts = _facts(chosen.inventory, where.socket)
    if chosen.against is not None:
        facts = _against(chosen.against, where.fleet, facts)
    road = plan_road(fleet, facts.observation, facts.demand, facts.memory, facts.now)
    from tui.view.plan import changes, plan_text

    if chosen.json:
        from pydantic import TypeAdapter

        from reconciler.model.plan import Plan
        from reconciler.model.source import Problem, Revision
        from tui.view.plan import Change

        shown = {
            "root": fleet.root,
            "revision": TypeAdapter(Revision | None).dump_python(fleet.revision, mode="json"),
            "changes": TypeAdapter(tuple[Change, ...]).dump_python(changes(fleet, road), mode="json"),
            "passes": TypeAdapter(tuple[Plan, ...]).dump_python(road, mode="json"),
            "problems": TypeAdapter(tuple[Problem, ...]).dump_python(fleet.problems, mode="json"),
        }
        import json

        screen.say(json.dumps(shown, ensure_ascii=False))
    else:
        text = plan_text(fleet, facts.observation, road, width=screen.width, colour=screen.colour, steps=chosen.steps)
        screen.say(text)
    if not chosen.detailed_exitcode:
        return 0
    if fleet.problems or fleet.missing is not None:
        return 1
    return 2 if any(change.mark != "!" for change in changes(fleet, road)) else 0


def inventory(_: argparse.Namespace) -> int:
    """Print this machine's GPUs as an inventory file."""
    from reconciler.observe import inventory as file
    from reconciler.observe.gather import offline

    seen = offline(None, time.monotonic)
    if isinstance(seen.gpus, Unknown):
        raise HoldfastError(f"cannot see the GPUs: {seen.gpus.reason}")
    print(file.write(file.of(seen.host, seen.gpus)), end="")
    return 0


def schema(chosen: argparse.Namespace) -> int:
    """Write the schemas, or say which are not current."""
    from reconciler.api import openapi
    from reconciler.spec import schema as fleet_schema

    stale = [
        *fleet_schema.write(chosen.into, check=chosen.check),
        *openapi.write(chosen.into, check=chosen.check),
    ]
    if not chosen.check:
        Screen().say(f"wrote {', '.join(stale)}" if stale else "all schemas are current")
        return 0
    for path in stale:
        warn(f"holdfast: {path} is not current; run `holdfast schema`")
    return int(bool(stale))


def _kinds(fleet: Fleet) -> dict[str, int]:
    models = sum(workload.spec.kind == "Model" for workload in fleet.workloads.values())
    services = len(fleet.workloads) - models
    return {"model": models, "service": services, "engine": len(fleet.engines), "node": len(fleet.nodes)}


def _facts(written: str | None, socket: str) -> Facts:
    """What there is to plan with: an inventory's machine, else what the daemon knows, else what is seen from here."""
    from reconciler.observe import inventory as file
    from reconciler.observe.gather import offline

    if written is not None:
        return _bare(offline(file.read(written), time.monotonic))
    try:
        return Client(socket).facts()
    except ApiError as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            raise
    return _bare(offline(None, time.monotonic))


def _bare(observation: Observation) -> Facts:
    return Facts(observation=observation, memory=Memory(), now=time.monotonic())


def _against(revision: str, root: str, facts: Facts) -> Facts:
    """The same machine, had it converged on the fleet of another revision with nothing else of ours on it."""
    from reconciler.plan.road import converge
    from reconciler.spec.git import export

    with tempfile.TemporaryDirectory(prefix="holdfast-") as scratch:
        # under the same name: what is shown and compared must not tell that it was elsewhere
        into = os.path.join(scratch, os.path.basename(os.path.abspath(root)))
        os.mkdir(into)
        export(root, revision, into)
        before = load_once(into)
    empty = replace(facts.observation, instances={}, healthy={}, ports=frozenset())
    return Facts(observation=converge(before, empty, facts.now), memory=Memory(), now=facts.now, demand=facts.demand)
