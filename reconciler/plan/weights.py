"""Whether the weights of a workload, and its image, are on the machine that it is to run on."""

from reconciler import engines
from reconciler.engines.dialect import cached_as
from reconciler.model.fleet import Workload
from reconciler.model.kinds import Model
from reconciler.model.observation import Observation, Unknown
from reconciler.model.quantity import print_size
from reconciler.model.stored import Fetching, Here, Stored


def where(workload: Workload, observation: Observation, machine: str = "") -> str:
    """The path of weights that were fetched; empty where there is none."""
    source = workload.spec.source if isinstance(workload.spec, Model) and not machine else ""
    stored = observation.sources.get(cached_as(source, workload.engine) or "") if observation.sources else None
    return stored.path if isinstance(stored, Here) else ""


def lacks(workload: Workload, observation: Observation, machine: str = "") -> tuple[str, ...]:
    """What it cannot start without and is not here."""
    if not observation.sources or machine:
        return ()
    return tuple([each for each in engines.required(workload) if not is_here(each, observation)])


def is_here(source: str, observation: Observation) -> bool:
    """Whether it is on this machine; what was not looked for is taken to be."""
    return isinstance(observation.sources.get(source), Here | None)


def adapters(workload: Workload, observation: Observation, machine: str) -> dict[str, str]:
    """The paths of its adapters that were fetched, by source."""
    spec = workload.spec
    return paths(observation) if isinstance(spec, Model) and spec.adapters and not machine else {}


def paths(observation: Observation) -> dict[str, str]:
    """Where everything lies that is here, by source."""
    return {source: stored.path for source, stored in observation.sources.items() if isinstance(stored, Here)}


def arrived(observation: Observation) -> dict[str, Stored | Unknown]:
    """The sources once all that is being fetched is here."""
    return {
        source: here(source, stored.total) if isinstance(stored, Fetching) else stored
        for source, stored in observation.sources.items()
    }


def here(source: str, size: int | None) -> Here:
    """A source as it will be: where, only the fetch decides."""
    return Here(path=f"(fetched) {source}", size=size or 0)


def how_far(fetching: Fetching) -> str:
    """`: 3.2 GiB of 16.1 GiB`; empty where nothing is known yet."""
    return f": {print_size(fetching.done)} of {print_size(fetching.total)}" if fetching.total else ""
