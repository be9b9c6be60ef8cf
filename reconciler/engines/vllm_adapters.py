"""LoRA adapters of vLLM: its flags, and the API by which it takes them up and lets them go while it runs. Pure.

Read at vLLM, August 2026: what is loaded already is refused with 400, what is not there with 404. More adapters than
`--max-loras` may be loaded: no more than that share a batch, the others wait.
"""

from collections.abc import Mapping

from reconciler.engines.dialect import Attaching, hub_parts, scheme
from reconciler.model.fields import SecretRef
from reconciler.model.kinds import Model
from reconciler.model.plan import Launch, Request

_ALLOWED = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
ENV: Mapping[str, str | SecretRef] = {_ALLOWED: "True"}
"""What lets the API change adapters."""
LOADS = 60.0
"""Seconds that loading one may take."""
ANSWERS = 10.0
"""Seconds that letting one go may take."""


def flags(adapters: Mapping[str, str], *, places: int) -> list[str]:
    """What vLLM is started with; `adapters`: by name the source of each."""
    return [*_modules(adapters), "--enable-lora", "--max-loras", str(places)]


def refused(model: Model) -> str | None:
    """Why the adapters of a model cannot be loaded, in words for its `adapters`."""
    for adapter in model.adapters:
        kind = scheme(adapter.source)
        if kind not in ("file", "hf", "modelscope"):
            return f"cannot load {adapter.name} from {kind}: with this engine; write hf:org/repo, modelscope: or file:"
        if kind != "file" and hub_parts(adapter.source)[2] is not None:
            return f"cannot load {adapter.name} from one file; write {kind}:{hub_parts(adapter.source)[0]}"
    return None


def files(adapters: Mapping[str, str]) -> list[str]:
    """Those that must be readable."""
    return [path(source) for source in adapters.values() if scheme(source) == "file"]


def path(source: str) -> str:
    """What vLLM calls the weights of an adapter."""
    return source.removeprefix("file:") if scheme(source) == "file" else hub_parts(source)[0]


def _modules(adapters: Mapping[str, str]) -> list[str]:
    named = [f"{name}={path(source)}" for name, source in adapters.items()]
    return ["--lora-modules", *named] if named else []


def _able(launch: Launch) -> bool:
    return launch.env.get(_ALLOWED) == ENV[_ALLOWED]


def _attach(name: str, source: str) -> tuple[Request, ...]:
    # first let go: so it does no harm to ask again where it is not known whether it was asked
    load = Request(path="/v1/load_lora_adapter", body={"lora_name": name, "lora_path": path(source)}, within=LOADS)
    return *_detach(name), load


def _detach(name: str) -> tuple[Request, ...]:
    return (Request(path="/v1/unload_lora_adapter", body={"lora_name": name}, within=ANSWERS, also=(404,)),)


def _argv(launch: Launch, adapters: Mapping[str, str]) -> tuple[str, ...]:
    end = launch.argv.index("--enable-lora")
    begin = launch.argv.index("--lora-modules") if "--lora-modules" in launch.argv[:end] else end
    return (*launch.argv[:begin], *_modules(adapters), *launch.argv[end:])


def _crowded(launch: Launch, count: int) -> str:
    return crowded(launch, count, "--max-loras")


def crowded(launch: Launch, count: int, flag: str, *, beside: int = 0) -> str:
    """What so many adapters mean where `flag` says how many places a batch has, some of them for others."""
    given = [value for key, value in zip(launch.argv, launch.argv[1:], strict=False) if key == flag]
    given += [text.partition("=")[2] for text in launch.argv if text.startswith(f"{flag}=")]
    places = max(1, int(given[-1]) - beside) if given and given[-1].isdigit() else 1
    return f"{count} take turns for {places} in a batch ({flag})" if count > places else ""


ATTACHING = Attaching(refused=refused, able=_able, attach=_attach, detach=_detach, argv=_argv, crowded=_crowded)
