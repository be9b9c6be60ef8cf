"""Instances → what people are shown of what they were started from. Pure; no secret is in it."""

from collections.abc import Mapping

from reconciler.model.answers import Launched
from reconciler.model.observation import Instance
from reconciler.model.plan import Launch
from reconciler.model.secret import Secret
from reconciler.model.slots import split_slot


def launches(instances: Mapping[str, Instance]) -> tuple[Launched, ...]:
    """As they are recorded, by slot; nothing of those whose record cannot be read."""
    found = (instances[slot].launch for slot in sorted(instances, key=split_slot))
    return tuple(_launched(launch) for launch in found if launch.run)


def _launched(launch: Launch) -> Launched:
    return Launched(
        slot=launch.slot,
        run=launch.run,
        engine=launch.engine,
        runtime=launch.runtime,
        argv=launch.argv,
        env={key: _shown(value) for key, value in sorted(launch.env.items())},
        directory=launch.directory,
        image=launch.container.image if launch.container is not None else "",
        gpus=launch.indices,
        port=launch.port,
    )


def _shown(value: str | Secret) -> str:
    return value if isinstance(value, str) else f"{{secret: {value.secret}}}"
