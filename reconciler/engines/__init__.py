"""Dialects: turns a resource into a Workload, and a Workload at a place into a Launch. Pure.

A new engine is one file here, one golden test, and one entry in DIALECTS.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

from reconciler.engines import llamacpp, template, vllm
from reconciler.engines.dialect import Command, Dialect, Refusal, Where, scheme
from reconciler.model.fleet import Needs, Workload, split_slot
from reconciler.model.kinds import Engine, Gpus, Model, Node, Service, Spec, Workable, change_class
from reconciler.model.observation import Gpu, Host
from reconciler.model.plan import Launch, Probe, Strikes
from reconciler.model.source import Source

DIALECTS: dict[str, Dialect] = {"llamacpp": llamacpp.DIALECT, "vllm": vllm.DIALECT}
LATER = ("sglang", "ollama", "tgi", "triton")
"""Engines of the language that this version does not drive."""

_GIB = 2**30


def _fields(kind: type[Spec], change: Literal["live", "restart"]) -> set[str]:
    return {field for field in kind.model_fields if change_class(kind, field) == change}


_LIVE = {kind: _fields(kind, "live") for kind in (Model, Service, Engine)}
_RESTART = {kind: _fields(kind, "restart") for kind in (Model, Service, Engine)}


def default_engine(source: str) -> str:
    """The engine for a model that names none."""
    if scheme(source) == "ollama":
        return "ollama"
    return "llamacpp" if "gguf" in source.lower() else "vllm"


def workload(spec: Workable, *, source: Source, directory: str, engines: Mapping[str, Engine]) -> Workload | str:
    """What the planner sees of a resource; or why it cannot be run, in words for its `engine`."""
    template_used: Engine | None = None
    if isinstance(spec, Service):
        engine, cpu = "command", True
        refusal = _service_refusal(spec)
    else:
        engine = spec.engine or default_engine(spec.source)
        template_used = engines.get(engine)
        dialect = DIALECTS.get(engine)
        cpu = template_used.cpu if template_used else dialect.cpu if dialect else False
        refusal = _model_refusal(spec, engine, template_used, dialect)
    if refusal is not None:
        return refusal
    settings, fingerprint, live = _settings(spec, template_used, directory)
    return Workload(
        name=spec.name,
        spec=spec,
        engine=engine,
        template=template_used,
        source=source,
        directory=directory,
        needs=_needs(spec, cpu=cpu),
        replicas=spec.bounds,
        priority=spec.priority,
        health=spec.health,
        update=spec.update,
        paused=spec.paused,
        settings=settings,
        fingerprint=fingerprint,
        live=live,
    )


def _service_refusal(spec: Service) -> str | None:
    texts = (*spec.command, *(value for value in spec.env.values() if isinstance(value, str)))
    place = template.unknown_place(texts, Service)
    if place is not None:
        return f"cannot fill in {{{place}}}; choose {{port}}, {{name}} or {{index}}, or write {{{{ for a brace"
    if spec.health.path is not None and spec.port is None and not template.names_port(spec):
        return "cannot probe health.path without a port; name {port} in the command, or give port"
    return None


def _model_refusal(spec: Model, engine: str, used: Engine | None, dialect: Dialect | None) -> str | None:
    if used is not None:
        texts = (*used.command, *(value for value in used.env.values() if isinstance(value, str)))
        place = template.unknown_place(texts, Model)
        return f"cannot fill in {{{place}}} of engine {engine}; see the manual of kind Engine" if place else None
    known = ", ".join((*DIALECTS, "or the name of a kind: Engine"))
    if dialect is None and engine in LATER:
        return f"cannot be {engine} yet: this version does not drive it; choose {known}"
    if dialect is None:
        return f"cannot be {engine}: nothing declares such an engine; choose {known}"
    if scheme(spec.source) not in dialect.sources:
        schemes = ", ".join(f"{name}:" for name in dialect.sources)
        return f"cannot take {scheme(spec.source)}: sources with {engine}; choose one of {schemes}"
    if spec.params:
        return f"cannot take params with {engine}; params are for a kind: Engine, write args"
    return None


def _settings(spec: Workable, used: Engine | None, directory: str) -> tuple[str, str, str]:
    """Settings as canonical JSON, their fingerprint, and the hash of the live ones.

    What equals its default is left out, so a new field of ours changes no fingerprint.
    """
    kind = type(spec)
    restart = spec.model_dump_json(exclude=_LIVE[kind], exclude_defaults=True)
    live = spec.model_dump_json(exclude=_RESTART[kind], exclude_defaults=True)
    engine = used.model_dump_json(exclude=_LIVE[Engine], exclude_defaults=True) if used else "{}"
    place = directory if isinstance(spec, Model) and scheme(spec.source) == "file" else ""
    fingerprint = _hash(restart + engine + place)
    return f"[{restart},{live},{engine}]", fingerprint, _hash(live)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _needs(spec: Workable, *, cpu: bool) -> Needs:
    wish = spec.gpus
    memory = None if spec.memory == "auto" else spec.memory
    port = "leased" if isinstance(spec, Model) or template.names_port(spec) else None
    if isinstance(spec, Service) and spec.port is not None:
        port = spec.port
    if isinstance(wish, Gpus):
        return Needs(
            gpus=wish.count,
            cpu=cpu,
            memory=memory,
            share=wish.share,
            least=wish.memory or 0,
            models=tuple(wish.model.split("|")) if wish.model else (),
            ids=wish.ids,
            labels=spec.nodes,
            port=port,
        )
    if wish is None:
        wish = spec.tensor_parallel if isinstance(spec, Model) else 0
    return Needs(gpus=wish, cpu=cpu, memory=memory, labels=spec.nodes, port=port)


def launch(
    what: Workload,
    *,
    slot: str,
    run: int,
    gpus: tuple[Gpu, ...],
    port: int | None,
    strikes: Strikes,
    host: Host,
    node: Node,
) -> Launch | Refusal:
    """Everything needed to start one run at a place; or why it cannot run there."""
    spec = what.spec
    name, index = split_slot(slot)
    where = Where(name=name, index=index, gpus=gpus, memory=what.needs.memory, port=port, host=host)
    if isinstance(spec, Service):
        command = template.render_service(spec, where)
    elif what.template is not None:
        command = template.render_model(what, spec, what.template, where)
    else:
        command = DIALECTS[what.engine].render(what, spec, where)
    if isinstance(command, Refusal):
        return command
    cache = {"HF_HOME": node.cache.path, "LLAMA_CACHE": node.cache.path} if node.cache is not None else {}
    own = spec.env if isinstance(spec, Model) else {}
    return Launch(
        slot=slot,
        run=run,
        source=what.source.path,
        engine=what.engine,
        argv=command.argv,
        env={**cache, **command.env, **own},
        directory=spec.directory if isinstance(spec, Service) else None,
        gpus=tuple(gpu.uuid for gpu in gpus),
        indices=tuple(gpu.index for gpu in gpus),
        memory=what.needs.memory,
        port=port,
        probe=probe(what, gpus),
        files=command.files,
        fingerprint=what.fingerprint,
        live=what.live,
        settings=what.settings,
        strikes=strikes,
    )


def probe(what: Workload, gpus: tuple[Gpu, ...] = ()) -> Probe:
    """How its instances are asked whether they work. A change of it is live."""
    health = what.health
    path = health.path
    if path is None and isinstance(what.spec, Model):
        path = what.template.health if what.template is not None else DIALECTS[what.engine].health
    if health.start == "auto":
        held = what.needs.memory if what.needs.memory is not None else max((gpu.memory for gpu in gpus), default=0)
        start = 300.0 + 20.0 * held * len(gpus) / _GIB
    else:
        start = health.start.total_seconds()
    return Probe(
        path=path,
        interval=health.interval.total_seconds(),
        timeout=health.timeout.total_seconds(),
        failures=health.failures,
        start=start,
        inference=health.inference.total_seconds() if health.inference and isinstance(what.spec, Model) else None,
        model=what.name,
    )


__all__ = ["DIALECTS", "LATER", "Command", "Refusal", "default_engine", "launch", "probe", "workload"]
