"""Whether the weights of a workload are on the machine that it is to run on."""

from reconciler import engines
from reconciler.model.fleet import Workload
from reconciler.model.observation import Observation, Unknown
from reconciler.model.quantity import print_size
from reconciler.model.stored import Fetching, Here, Stored


def where(workload: Workload, observation: Observation, machine: str = "") -> str:
    """The path of weights that were fetched; empty where there is none."""
    stored = _stored(workload, observation, machine)
    return stored.path if isinstance(stored, Here) else ""


def lacks(workload: Workload, observation: Observation, machine: str = "") -> bool:
    """Whether it cannot start because its weights are not here."""
    stored = _stored(workload, observation, machine)
    return stored is not None and not isinstance(stored, Here)


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


def _stored(workload: Workload, observation: Observation, machine: str) -> Stored | Unknown | None:
    source = engines.fetched(workload) if observation.sources and not machine else None
    return observation.sources.get(source) if source is not None else None
