"""`holdfast plan`: what would happen here, on a machine that is written down, or on one that runs another revision."""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace

from reconciler import engines
from reconciler.cli.places import places
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.engines import headers
from reconciler.model.errors import ApiError, HoldfastError
from reconciler.model.facts import Facts, Road, declared
from reconciler.model.fleet import Fleet, Workload, slots_of
from reconciler.model.memory import Memory
from reconciler.model.observation import Gpu, Observation, Unknown
from reconciler.plan.fetches import needs
from reconciler.spec.load import load_once
from tui.view.foresee import outlook
from tui.view.outlook import Against, Outlook

HEADERS = 10.0
"""Seconds that a plan waits for the headers of models that are far away."""


def plan(chosen: argparse.Namespace) -> int:
    """Show what would happen. See the language for exit statuses."""
    seen, screen = _outlook(chosen), Screen()
    if chosen.json:
        from pydantic_core import to_json

        screen.say(to_json(seen).decode())
    elif chosen.format == "markdown":
        from tui.view.markdown import plan_markdown

        screen.say(plan_markdown(seen, steps=chosen.steps))
    else:
        from tui.view.plan import plan_text

        screen.say(plan_text(seen, width=screen.width, colour=screen.colour, steps=chosen.steps))
    if not chosen.detailed_exitcode:
        return 0
    if seen.problems or seen.missing is not None:
        return 1
    return 2 if seen.changing else 0


def _outlook(chosen: argparse.Namespace) -> Outlook:
    from reconciler.plan.road import road

    where = places(chosen, here=True)
    fleet = load_once(where.fleet)
    facts = _facts(chosen.inventory, where.socket)
    against = None
    if chosen.against is not None:
        facts, against = _against(chosen.against, where.fleet, facts)
    if fleet.missing is not None and not os.path.isdir(where.fleet):
        raise HoldfastError(f"cannot plan: {fleet.missing}")
    facts = replace(facts, observation=_weighed(fleet, facts.observation))
    if not chosen.inventory:
        facts = replace(facts, observation=_looked_for(fleet, facts.observation))
    ahead = road(fleet, facts.observation, facts.demand, facts.memory, facts.now)
    machines = ", ".join(host.name for host in facts.observation.machines.values())
    machine = machines if chosen.inventory else None
    return outlook(Road(passes=ahead, declared=declared(fleet), facts=facts), against=against, machine=machine)


def _facts(written: Sequence[str], socket: str) -> Facts:
    """What there is to plan with: machines of inventories, else what the daemon knows, else what is seen from here."""
    from reconciler.observe import inventory as file
    from reconciler.observe.gather import offline

    if written:
        return _bare(offline(file.read_all(written), time.monotonic))
    try:
        return Client(socket).facts()
    except ApiError as error:
        if not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            raise
    return _bare(offline((), time.monotonic))


def _weighed(fleet: Fleet, observation: Observation) -> Observation:
    """With the headers of all models whose memory is to be estimated, as far as they can be read from here."""
    sources = {source for workload in fleet.workloads.values() for source in headers.wanted(workload)}
    missing = sources - observation.weights.keys()
    if not missing:
        return replace(observation, reading=frozenset())
    from reconciler.observe.weighing import weigh

    root = fleet.cache_of(observation.host.name)
    known = {**observation.weights, **weigh(missing, root, within=HEADERS)}
    return replace(observation, weights=known, reading=frozenset())


def _looked_for(fleet: Fleet, observation: Observation) -> Observation:
    """With where the weights are that this fleet needs. A machine that is written down is taken to have them."""
    missing = {source: names for source, names in needs(fleet).items() if source not in observation.sources}
    if not missing:
        return observation
    from reconciler import shelf
    from reconciler.observe.sources import look

    found = look(missing, shelf.place(fleet.cache_of(observation.host.name)), time.monotonic())
    return replace(observation, sources={**observation.sources, **found})


def _bare(observation: Observation) -> Facts:
    return Facts(observation=observation, memory=Memory(), now=time.monotonic())


def _against(revision: str, root: str, facts: Facts) -> tuple[Facts, Against]:
    """The same machine, had it converged on the fleet of another revision with nothing else of ours on it."""
    from reconciler.plan.road import converge
    from reconciler.spec.git import export

    with tempfile.TemporaryDirectory(prefix="holdfast-") as scratch:
        # under the same name: what is shown and compared must not tell that it was elsewhere
        into = os.path.join(scratch, os.path.basename(os.path.abspath(root)))
        os.mkdir(into)
        commit = export(root, revision, into)
        before = _moved(load_once(into), into, os.path.abspath(root))
    against = Against(name=revision, commit=commit, problems=before.problems)
    empty = _vacated(facts.observation)
    then = converge(before, _weighed(before, empty), facts.now)
    return Facts(observation=then, memory=Memory(), now=facts.now, demand=facts.demand), against


def _moved(fleet: Fleet, here: str, there: str) -> Fleet:
    """The fleet as if it stood in another directory: part of what is compared is what `file:` is relative to."""
    workloads: dict[str, Workload] = {}
    for name, workload in fleet.workloads.items():
        directory = os.path.normpath(os.path.join(there, os.path.relpath(workload.directory, here)))
        made = engines.workload(workload.spec, source=workload.source, directory=directory, engines=fleet.engines)
        workloads[name] = made if isinstance(made, Workload) else workload
    return replace(fleet, workloads=workloads, slots=slots_of(workloads))


def _vacated(observation: Observation) -> Observation:
    """The machine without anything of ours."""
    gpus = observation.gpus
    if not isinstance(gpus, Unknown):
        gpus = tuple(map(_without_ours, gpus))
    return replace(observation, gpus=gpus, instances={}, healthy={}, ports=frozenset())


def _without_ours(gpu: Gpu) -> Gpu:
    strangers = tuple(holder for holder in gpu.holders if holder.slot is None)
    ours = sum(holder.memory for holder in gpu.holders if holder.slot is not None)
    return replace(gpu, holders=strangers, used=max(0, gpu.used - ours))
