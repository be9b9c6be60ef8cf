"""Engines without code: fills the templates of a `kind: Engine` and the command of a `kind: Service`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from reconciler.engines.dialect import Command, Where, hub_parts, scheme, visible_devices
from reconciler.engines.metrics import Metering, prometheus
from reconciler.model.fields import SecretRef
from reconciler.model.kinds import Engine, Model, Service

_PLACE = re.compile(r"\{\{|\}\}|\{([a-z][\w.-]*)\}")
_MODEL_NAMES = ("source", "weights", "port", "name", "index", "context", "parallel", "gpus")
_SERVICE_NAMES = ("port", "name", "index")


def places(of: Engine | Service) -> list[str]:
    """The names in `{…}` of its command and its environment, in the order they are written."""
    text = "\n".join([*of.command, *[value for value in of.env.values() if isinstance(value, str)]])
    return [name for name in _PLACE.findall(text) if name] if "{" in text else []


def unknown_place(of: Engine | Service, names: list[str]) -> str | None:
    """Of its places, the first that could never be filled in, or None."""
    if of.kind == "Service":
        return next((name for name in names if name not in _SERVICE_NAMES), None)
    return next((name for name in names if name not in _MODEL_NAMES and not name.startswith("params.")), None)


def _fill(text: str, values: Mapping[str, Any]) -> str | None:
    """The text with its places filled in; None where it names a value that is not given."""
    if "{" not in text and "}" not in text:
        return text
    absent = False

    def value(match: re.Match[str]) -> str:
        nonlocal absent
        if match[1] is None:
            return match[0][0]
        found = values.get(match[1])
        absent = absent or found is None
        if isinstance(found, str):
            return found
        return str(found) if type(found) is int else json.dumps(found)

    filled = _PLACE.sub(value, text)
    return None if absent else filled


def _command(
    texts: tuple[str, ...], env: Mapping[str, str | SecretRef], values: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, str | SecretRef]]:
    argv = tuple([filled for text in texts if (filled := _fill(text, values)) is not None])
    filled_env: dict[str, str | SecretRef] = {}
    for key, text in env.items():
        filled = _fill(text, values) if isinstance(text, str) else text
        if filled is not None:
            filled_env[key] = filled
    return argv, filled_env


def render_model(model: Model, engine: Engine, where: Where) -> Command:
    """A model by its `kind: Engine`."""
    local = scheme(model.source) == "file" or fetches(engine)
    files = (where.weights,) if local else ()
    if scheme(model.source) == "file":
        source = where.weights
    elif scheme(model.source) in ("hf", "modelscope"):
        source = hub_parts(model.source)[0]
    else:
        source = model.source.removeprefix("ollama:")
    values: dict[str, Any] = {
        "source": source,
        "weights": where.weights,
        "port": where.port,
        "name": model.name,
        "index": where.index,
        "context": model.context,
        "parallel": model.parallel,
        "gpus": len(where.gpus),
        **{f"params.{key}": value for key, value in model.params.items()},
    }
    argv, env = _command(engine.command, engine.env, values)
    return Command(argv=(*argv, *model.args), env={**visible_devices(where), **env}, files=files)


def metering(engine: Engine) -> Metering | None:
    """How the metrics of its models are read; None where it does not say."""
    told = engine.metrics
    if told is None:
        return None
    names = {field: (str(name),) for field, name in told if field != "path" and name is not None}
    return prometheus(names, told.path)


def fetches(engine: Engine) -> bool:
    """Whether weights are fetched for it: where its command says where they lie."""
    return "weights" in places(engine)


def render_service(service: Service, where: Where) -> Command:
    """A service by its own command."""
    values = {"port": where.port, "name": service.name, "index": where.index}
    argv, env = _command(service.command, service.env, values)
    return Command(argv=argv, env={**visible_devices(where), **env} if where.gpus else env)
