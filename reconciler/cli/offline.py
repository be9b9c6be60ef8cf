"""Verbs that need no daemon: check the files, write down this machine, write the schemas."""

import argparse
import time

from reconciler.cli.places import places
from reconciler.cli.screen import Screen, warn
from reconciler.model.errors import HoldfastError
from reconciler.model.fleet import Fleet
from reconciler.model.observation import Unknown
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


def inventory(_: argparse.Namespace) -> int:
    """Print this machine's GPUs as an inventory file."""
    from reconciler.observe import inventory as file
    from reconciler.observe.gather import offline

    seen = offline((), time.monotonic)
    if isinstance(seen.gpus, Unknown):
        raise HoldfastError(f"cannot see the GPUs: {seen.gpus.reason}")
    print(file.write(file.of(seen.host, seen.gpus)), end="")
    return 0


def schema(chosen: argparse.Namespace) -> int:
    """Write the schemas, or say which are not current."""
    from reconciler.api import openapi
    from reconciler.cli import plan_schema
    from reconciler.spec import schema as fleet_schema

    stale = [
        *fleet_schema.write(chosen.into, check=chosen.check),
        *plan_schema.write(chosen.into, check=chosen.check),
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
