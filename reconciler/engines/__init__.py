"""Dialects: turns a resource into a Workload, and a Workload at a place into a Launch. Pure.

A new engine is one file here, one golden test, and one entry in DIALECTS.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Literal

from reconciler.engines import containers, llamacpp, ollama, sglang, template, tgi, triton, vllm
from reconciler.engines.dialect import (
    Attaching,
    Command,
    Dialect,
    Refusal,
    Unfit,
    Where,
    absolute,
    cached_as,
    local_path,
    openai,
    scheme,
)
from reconciler.engines.metrics import Metering
from reconciler.engines.needed import fetched, image, required
from reconciler.engines.written import settings
from reconciler.model.container import Unit
from reconciler.model.fleet import Needs, Workload
from reconciler.model.kinds import Engine, Model, Node, SecretRef, Service, Workable
from reconciler.model.observation import Gpu, Host
from reconciler.model.plan import Launch, Probe, Request, Size, Sleeper, Strikes
from reconciler.model.slots import split_slot
from reconciler.model.source import Source
from reconciler.model.status import Reason

DIALECTS: dict[str, Dialect] = {
    "llamacpp": llamacpp.DIALECT,
    "vllm": vllm.DIALECT,
    "sglang": sglang.DIALECT,
    "tgi": tgi.DIALECT,
    "triton": triton.DIALECT,
    "ollama": ollama.DIALECT,
}

Port = int | Literal["leased"] | None
_NONE: Mapping[str, str] = {}


def sizes_itself(engine: str) -> bool:
    """Whether an engine of this name measures what is free on its GPUs when it starts."""
    dialect = DIALECTS.get(engine)
    return dialect is not None and dialect.sizes_itself


def attaching(engine: str) -> Attaching | None:
    """How an engine of this name changes adapters while it runs; None: it cannot."""
    dialect = DIALECTS.get(engine)
    return dialect.attaching if dialect is not None else None


def metering(engine: str, workload: Workload | None) -> Metering | None:
    """How the metrics of an instance are read; None: nobody knows."""
    if workload is not None and workload.template is not None and workload.engine == engine:
        return template.metering(workload.template)
    dialect = DIALECTS.get(engine)
    return dialect.metering if dialect is not None else None


def default_engine(source: str) -> str:
    """The engine for a model that names none."""
    if scheme(source) == "ollama":
        return "ollama"
    return "llamacpp" if "gguf" in source.lower() else "vllm"


def workload(spec: Workable, *, source: Source, directory: str, engines: Mapping[str, Engine]) -> Workload | Unfit:
    """What the planner sees of a resource; or why it cannot be run."""
    template_used: Engine | None = None
    if spec.kind == "Service":  # isinstance() of a pydantic class runs Python where the answer is no
        engine, cpu = "command", True
        places = template.places(spec)
        port = spec.port or ("leased" if "port" in places else None)
        refusal = _service_refusal(spec, places)
    else:
        port = "leased"
        engine = spec.engine or default_engine(spec.source)
        template_used = engines.get(engine)
        dialect = DIALECTS.get(engine)
        cpu = template_used.cpu if template_used else dialect.cpu if dialect else False
        refusal = _model_refusal(spec, engine, template_used, dialect)
    if refusal is not None:
        return refusal
    needs = _needs(spec, cpu, port)
    docker = containers.asked(spec, template_used)
    if docker is not None:
        docker = containers.chosen(docker, template_used, DIALECTS.get(engine), needs.gpus)
        if isinstance(docker, Unfit):
            return docker
    adapters = _NONE
    attaches = template_used is None and attaching(engine) is not None
    if attaches and spec.kind == "Model" and spec.adapters:
        adapters = {one.name: absolute(one.source, directory) for one in spec.adapters}
    text, fingerprint, live = settings(spec, template_used, directory, attaches=attaches and docker is None)
    return Workload(
        name=spec.name,
        spec=spec,
        engine=engine,
        template=template_used,
        source=source,
        directory=directory,
        needs=needs,
        replicas=spec.bounds,
        priority=spec.priority,
        health=spec.health,
        update=spec.update,
        paused=spec.paused,
        settings=text,
        fingerprint=fingerprint,
        live=live,
        adapters=adapters,
        docker=docker,
    )


def _service_refusal(spec: Service, places: list[str]) -> Unfit | None:
    if not spec.command and not containers.asked(spec, None):
        return Unfit("command", "cannot be left out; write program and arguments as a list")
    place = template.unknown_place(spec, places) if places else None
    if place is not None:
        return Unfit(
            "command", f"cannot fill in {{{place}}}; choose {{port}}, {{name}} or {{index}}, or write {{{{ for a brace"
        )
    if spec.health.path is not None and spec.port is None and "port" not in places:
        return Unfit("health", "cannot probe health.path without a port; name {port} in the command, or give port")
    return None


def _model_refusal(spec: Model, engine: str, used: Engine | None, dialect: Dialect | None) -> Unfit | None:
    why = _engine_refusal(spec, engine, used, dialect)
    if why is not None:
        return Unfit("engine", why)
    untold = next((field for field in dialect.untold if getattr(spec, field)), None) if dialect is not None else None
    if untold is not None:
        return Unfit(untold, f"cannot be told to {engine}: the model's own configuration says it; remove the line")
    if used is None and dialect is not None and (unfit := dialect.refused(spec)) is not None:
        return unfit
    if spec.adapters and (why := _adapters_refusal(spec, engine, dialect)) is not None:
        return Unfit("adapters", why)
    if spec.idle_action == "sleep" and (dialect is None or not dialect.sleeps):
        able = " or ".join(name for name, other in DIALECTS.items() if other.sleeps)
        return Unfit("idle_action", f"cannot be sleep with engine {engine}; choose stop, or engine {able}")
    if spec.idle_action == "sleep" and _needs(spec, False, None).gpus == 0:
        return Unfit("idle_action", "cannot be sleep with gpus: 0, as it has no GPU memory to give back; choose stop")
    return None


def _adapters_refusal(spec: Model, engine: str, dialect: Dialect | None) -> str | None:
    names = [*{spec.name, *spec.aliases}, *(adapter.name for adapter in spec.adapters)]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        return f"cannot be told apart: requests for {twice} could mean two things; choose another name"
    if dialect is None:
        return f"cannot be loaded by engine {engine}: a kind: Engine has no place for them; write args"
    return dialect.attaching.refused(spec) if dialect.attaching is not None else None


def _engine_refusal(spec: Model, engine: str, used: Engine | None, dialect: Dialect | None) -> str | None:
    if used is not None:
        place = template.unknown_place(used, template.places(used))
        return f"cannot fill in {{{place}}} of engine {engine}; see the manual of kind Engine" if place else None
    if dialect is None:
        known = ", ".join((*DIALECTS, "or the name of a kind: Engine"))
        return f"cannot be {engine}: nothing declares such an engine; choose {known}"
    kind = scheme(spec.source)
    if kind not in dialect.sources:
        schemes = ", ".join(f"{name}:" for name in dialect.sources)
        return f"cannot take {kind}: sources with {engine}; choose one of {schemes}"
    if spec.params:
        return f"cannot take params with {engine}; params are for a kind: Engine, write args"
    return None


def _needs(spec: Workable, cpu: bool, port: Port) -> Needs:
    wish = spec.gpus
    memory = None if spec.memory == "auto" else spec.memory
    if wish is None:
        wish = spec.tensor_parallel if spec.kind == "Model" else 0
    if wish is None or isinstance(wish, int):
        made = _few_needs(wish, cpu, memory, port)
        return replace(made, labels=spec.nodes) if spec.nodes else made
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


@lru_cache(maxsize=1024)
def _few_needs(gpus: int | None, cpu: bool, memory: int | None, port: Port) -> Needs:
    """What most ask for; one object for all that ask for the same."""
    return Needs(gpus=gpus, cpu=cpu, memory=memory, port=port)


def launch(
    what: Workload,
    *,
    slot: str,
    run: int,
    gpus: tuple[Gpu, ...],
    port: int | None,
    size: Size,
    strikes: Strikes,
    host: Host,
    node: Node,
    machine: str = "",
    weights: str = "",
    adapters: Mapping[str, str] = _NONE,
) -> Launch | Refusal:
    """Everything needed to start one run at a place; or why it cannot run there.

    `machine`: empty for this one; `weights`: where those lie that were fetched, `adapters`: the same by source.
    """
    spec = what.spec
    if spec.kind == "Model" and (scheme(spec.source) == "file" or not weights):
        # of what nobody fetched, its name: its engine fetches it by itself, or the launch is for show
        weights = local_path(spec.source, what.directory) if scheme(spec.source) == "file" else spec.source
    docker, dialect = what.docker, DIALECTS.get(what.engine)
    is_unit = what.under(host.auto) == "systemd"
    if is_unit and host.no_units:
        return Refusal(reason=Reason.NotSupported, detail=f"cannot have a unit of systemd: {host.no_units}")
    where = Where(
        index=split_slot(slot)[1],
        gpus=gpus,
        memory=size.memory,
        port=port,
        host=host,
        spare=max(0, size.host - (size.weights or 0)),
        weights=weights,
        contained=docker is not None,
    )
    command = _command(what, adapters, where)
    if isinstance(command, Refusal):
        return command
    env = {**command.env, **spec.env} if spec.kind == "Model" else command.env
    env = {**containers.environment(docker is not None, node), **env} if not is_unit else env
    asked = probe(what, gpus, size.memory)
    return Launch(
        slot=slot,
        run=run,
        source=what.source.path,
        engine=what.engine,
        argv=command.argv,
        env={key: value.named if isinstance(value, SecretRef) else value for key, value in env.items()},
        directory=spec.directory if spec.kind == "Service" else None,
        container=None if docker is None else containers.container(spec, docker, dialect, command.files, size),
        unit=Unit(memory=containers.limit(size), grace=what.update.grace.total_seconds()) if is_unit else None,
        node=machine,
        gpus=tuple([gpu.uuid for gpu in gpus]) if gpus else (),
        indices=tuple([gpu.index for gpu in gpus]) if gpus else (),
        memory=size.memory,
        basis=size.basis,
        within=size.within,
        host=size.host,
        host_basis=size.host_basis,
        port=port,
        probe=asked,
        sleeper=_sleeper(command.sleeper, what, gpus, size, asked.start) if command.sleeper is not None else None,
        files=command.files,
        fingerprint=what.fingerprint,
        live=what.live,
        settings=what.settings,
        adapters=what.adapters,
        strikes=strikes,
    )


def _command(what: Workload, adapters: Mapping[str, str], where: Where) -> Command | Refusal:
    """What its engine is told at a place: by a service, by a template of the fleet, or by a dialect of ours."""
    spec = what.spec
    if spec.kind == "Service":
        return template.render_service(spec, where)
    if what.template is not None:
        return template.render_model(spec, what.template, where)
    return DIALECTS[what.engine].render(*_at(what, spec, adapters), where)


def known_as(launch: Launch, name: str, adapters: Iterable[str]) -> dict[str, str]:
    """By name: the model name that its engine knows one of these adapters by, where that is another."""
    dialect = DIALECTS.get(launch.engine)
    pattern = dialect.knows if dialect is not None else "{adapter}"
    known = {one: pattern.replace("{name}", name).replace("{adapter}", one) for one in adapters}
    return {one: other for one, other in known.items() if one != other}


def _at(what: Workload, spec: Model, paths: Mapping[str, str]) -> tuple[Workload, Model]:
    """The same with `file:` sources of those of its adapters that were fetched."""
    if not paths:
        return what, spec
    there = [one.model_copy(update={"source": local(one.source, what.engine, paths)}) for one in spec.adapters]
    adapters = {name: local(source, what.engine, paths) for name, source in what.adapters.items()}
    return replace(what, adapters=adapters), spec.model_copy(update={"adapters": tuple(there)})


def local(source: str, engine: str, paths: Mapping[str, str]) -> str:
    """An adapter's source as an engine is told it: by its path, where it was fetched."""
    path = paths.get(cached_as(source, engine) or "")
    return f"file:{path}" if path is not None else source


def with_adapters(of: Launch, adapters: Mapping[str, str], paths: Mapping[str, str] = _NONE) -> Launch:
    """The same launch with other adapters, where its engine changes them while it runs; `paths`: by source."""
    attaching_ = attaching(of.engine)
    if attaching_ is None:
        return of
    told = {name: local(source, of.engine, paths) for name, source in adapters.items()}
    come = [local_path(source, "/") for source in told.values() if scheme(source) == "file"]
    # what such an engine reads beside its adapters is its weights
    return replace(of, adapters=adapters, argv=attaching_.argv(of, told), files=(*of.files[:1], *come))


def _sleeper(sleeper: Sleeper, what: Workload, gpus: tuple[Gpu, ...], size: Size, start: float) -> Sleeper:
    """With the host memory for its weights: no more than what it takes of its GPUs, where they are not known.

    `start`: seconds that a start may take, and a waking that is one.
    """
    wake = tuple(request if request.within else replace(request, within=start) for request in sleeper.wake)
    sleeper = replace(sleeper, wake=wake)
    if not DIALECTS[what.engine].keeps:
        return sleeper
    most = sum(gpu.memory if size.memory is None else size.memory for gpu in gpus)
    return replace(sleeper, host=most if size.weights is None else size.weights)


def probe(what: Workload, gpus: tuple[Gpu, ...] = (), memory: int | None = None) -> Probe:
    """How its instances are asked whether they work; `memory`: bytes on each GPU. A change of it is live."""
    health, is_model = what.health, what.spec.kind == "Model"
    path, tiny = health.path, openai
    if what.template is not None:
        path = path or what.template.health
    elif is_model:
        dialect = DIALECTS[what.engine]
        path, tiny = path or dialect.health.replace("{name}", what.name), dialect.tiny
    if health.start == "auto":
        start = 300.0
        if gpus:
            held = memory if memory is not None else max(gpu.memory for gpu in gpus)
            start += 20.0 * held * len(gpus) / 2**30
    else:
        start = health.start.total_seconds()
    inference = health.inference if is_model else None
    model = what.name if inference else ""
    return _probe(path, start, health.interval, health.timeout, health.failures, inference, model, tiny)


@lru_cache(maxsize=1024)
def _probe(  # noqa: PLR0917 -- the key of its cache
    path: str | None,
    start: float,
    interval: timedelta,
    timeout: timedelta,
    failures: int,
    inference: timedelta | None,
    model: str,
    tiny: Callable[[str, float], Request],
) -> Probe:
    """One object for all that are asked alike: most are."""
    within = inference.total_seconds() if inference else None
    return Probe(
        path=path,
        interval=interval.total_seconds(),
        timeout=timeout.total_seconds(),
        failures=failures,
        start=start,
        inference=within,
        tiny=tiny(model, within) if within is not None else None,
    )


__all__ = [
    "DIALECTS",
    "Command",
    "Refusal",
    "Unfit",
    "default_engine",
    "fetched",
    "image",
    "launch",
    "probe",
    "required",
    "sizes_itself",
    "workload",
]
