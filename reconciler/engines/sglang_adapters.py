"""LoRA adapters of SGLang: its flags, and the API by which it takes them up and lets them go while it runs. Pure.

Read at 0.5.6 and 0.5.23: what is loaded already, and what is not there, is refused with 400. The highest rank, and the
layers that may be adapted, are those of the adapters that it was started with.
"""

from collections.abc import Mapping

from reconciler.engines import vllm_adapters
from reconciler.engines.dialect import Attaching
from reconciler.model.plan import Launch, Request

_PATHS, _ENABLED, _PLACES = "--lora-paths", "--enable-lora", "--max-loras-per-batch"
_ANY = ("--max-lora-rank", "64", "--lora-target-modules", "all")
"""What it has to be told where it starts without any."""


def flags(adapters: Mapping[str, str], *, places: int) -> list[str]:
    """What SGLang is started with; `adapters`: by name the source of each. The model itself takes a place too."""
    return [*_loaded(adapters), _ENABLED, _PLACES, str(places + 1)]


def _loaded(adapters: Mapping[str, str]) -> list[str]:
    named = [f"{name}={vllm_adapters.path(source)}" for name, source in adapters.items()]
    return [_PATHS, *named] if named else [*_ANY]


def _able(launch: Launch) -> bool:
    return _ENABLED in launch.argv


def _attach(name: str, source: str) -> tuple[Request, ...]:
    # first let go: so it does no harm to ask again where it is not known whether it was asked
    body = {"lora_name": name, "lora_path": vllm_adapters.path(source)}
    return *_detach(name), Request(path="/load_lora_adapter", body=body, within=vllm_adapters.LOADS)


def _detach(name: str) -> tuple[Request, ...]:
    within = vllm_adapters.ANSWERS
    return (Request(path="/unload_lora_adapter", body={"lora_name": name}, within=within, also=(400,)),)


def _argv(launch: Launch, adapters: Mapping[str, str]) -> tuple[str, ...]:
    end = launch.argv.index(_ENABLED)
    begin = next(launch.argv.index(flag) for flag in (_PATHS, _ANY[0]) if flag in launch.argv[:end])
    return (*launch.argv[:begin], *_loaded(adapters), *launch.argv[end:])


def _crowded(launch: Launch, count: int) -> str:
    return vllm_adapters.crowded(launch, count, _PLACES, beside=1)


ATTACHING = Attaching(
    refused=vllm_adapters.refused, able=_able, attach=_attach, detach=_detach, argv=_argv, crowded=_crowded
)
