"""The embedded llama.cpp server: the one inside the xllamacpp wheel, run as a process with llama-server's own flags.

`python -m reconciler.act.llama_server --model FILE --port N …`: answers /health with 503 while it loads, serves until
SIGTERM, and exits 1 with a last line that says why where it cannot. It must never listen beyond this machine unasked.
"""

import difflib
import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

Params = Any  # xllamacpp is an extension without type stubs
Setter = Callable[[Params, str], None]
_SAID = 0.2
"""Seconds in which llama.cpp's thread has said what went wrong; it says its lines in pieces."""


class _FlagError(ValueError):
    """A flag that cannot be honoured. The message is for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flag:
    """One flag: its names, what its value is called (empty for a switch), and what it sets."""

    names: tuple[str, ...]
    value: str
    apply: Setter


def _attribute(path: str) -> tuple[Callable[[Params], Any], str]:
    *owners, last = path.split(".")

    def owner(params: Params) -> Any:
        for name in owners:
            params = getattr(params, name)
        return params

    return owner, last


def _set(names: str, path: str, value: str, convert: Callable[[str], Any]) -> _Flag:
    owner, last = _attribute(path)
    return _Flag(
        names=tuple(names.split()), value=value, apply=lambda params, text: setattr(owner(params), last, convert(text))
    )


def _whole(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise _FlagError("write a whole number") from None
    if not -(2**31) <= number < 2**31:
        raise _FlagError("write a number of at most 32 bits")
    return number


def _port(text: str) -> int:
    port = _whole(text)
    if not 0 < port < 65536:
        raise _FlagError("choose 1-65535")
    return port


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _FlagError("write a number") from None


def _integer(names: str, path: str) -> _Flag:
    return _set(names, path, "N", _whole)


def _number(names: str, path: str) -> _Flag:
    return _set(names, path, "X", _decimal)


def _text(names: str, path: str, value: str = "TEXT") -> _Flag:
    return _set(names, path, value, str)


def _choice(names: str, path: str, choices: dict[str, Any]) -> _Flag:
    def convert(text: str) -> Any:
        if text not in choices:
            raise _FlagError(f"choose one of {', '.join(choices)}")
        return choices[text]

    return _set(names, path, "{" + ",".join(choices) + "}", convert)


def _switch(names: str, path: str, *, to: bool = True) -> _Flag:
    owner, last = _attribute(path)
    return _Flag(names=tuple(names.split()), value="", apply=lambda params, _: setattr(owner(params), last, to))


def _layers(text: str) -> int:
    named = {"auto": -1, "all": -2}
    return named[text] if text in named else _whole(text)


def _split(text: str) -> list[float]:
    shares = [_decimal(part) for part in text.replace("/", ",").split(",")]
    if len(shares) > 128:
        raise _FlagError("give at most 128 shares")
    return shares + [0.0] * (128 - len(shares))


def _table(library: Any) -> tuple[_Flag, ...]:
    """Every flag that is understood, under llama-server's names."""

    def members(name: str, prefix: str) -> dict[str, Any]:
        return {member.name.removeprefix(prefix).lower(): member for member in getattr(library, name)}

    cache = {
        name: member
        for name, member in members("ggml_type", "GGML_TYPE_").items()
        if name in {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"}
    }
    flash = library.llama_flash_attn_type
    modes = members("llama_load_mode", "LLAMA_LOAD_MODE_")
    modes["mmap+mlock"], modes["dio"] = modes.pop("mmap_mlock"), modes.pop("direct_io")
    adapter = library.CommonAdapterLoraInfo

    def lora(params: Params, text: str) -> None:
        params.lora_adapters = [*params.lora_adapters, *(adapter(path, 1.0) for path in text.split(","))]

    def lora_scaled(params: Params, text: str) -> None:
        pairs = [part.rpartition(":") for part in text.split(",")]
        params.lora_adapters = [*params.lora_adapters, *(adapter(path, _decimal(scale)) for path, _, scale in pairs)]

    def alias(params: Params, text: str) -> None:
        params.model_alias = {*params.model_alias, *(name for name in text.split(",") if name)}

    def rerank(params: Params, _: str) -> None:
        params.embedding, params.pooling_type = True, library.llama_pooling_type.LLAMA_POOLING_TYPE_RANK

    return (
        _text("-m --model", "model.path", "FILE"),
        _text("-mu --model-url", "model.url", "URL"),
        _text("-hf -hfr --hf-repo", "model.hf_repo", "REPO"),
        _text("-hff --hf-file", "model.hf_file", "FILE"),
        _text("-mm --mmproj", "mmproj.path", "FILE"),
        _switch("--offline", "offline"),
        _Flag(names=("-a", "--alias"), value="NAME,…", apply=alias),
        _set("--host", "hostnames", "ADDRESS,…", lambda text: text.split(",")),
        _set("--port", "port", "N", _port),
        _integer("-c --ctx-size", "n_ctx"),
        _integer("-np --parallel", "n_parallel"),
        _integer("-b --batch-size", "n_batch"),
        _integer("-ub --ubatch-size", "n_ubatch"),
        _integer("-n --predict --n-predict", "n_predict"),
        _integer("-t --threads", "cpuparams.n_threads"),
        _integer("-tb --threads-batch", "cpuparams_batch.n_threads"),
        _integer("--threads-http", "n_threads_http"),
        _integer("--poll", "cpuparams.poll"),
        _set("-ngl --gpu-layers --n-gpu-layers", "n_gpu_layers", "N|auto|all", _layers),
        _choice("-sm --split-mode", "split_mode", members("llama_split_mode", "LLAMA_SPLIT_MODE_")),
        _set("-ts --tensor-split", "tensor_split", "N,N,…", _split),
        _integer("-mg --main-gpu", "main_gpu"),
        _choice("-lm --load-mode", "load_mode", modes),
        _choice("-fit --fit", "fit_params", {"on": True, "off": False}),
        _integer("-fitc --fit-ctx", "fit_params_min_ctx"),
        _choice("-ctk --cache-type-k", "cache_type_k", cache),
        _choice("-ctv --cache-type-v", "cache_type_v", cache),
        _integer("-cram --cache-ram", "cache_ram_mib"),
        _integer("--cache-reuse", "n_cache_reuse"),
        _switch("--no-cache-prompt", "cache_prompt", to=False),
        _switch("-kvu --kv-unified", "kv_unified"),
        _switch("-no-kvu --no-kv-unified", "kv_unified", to=False),
        _switch("-nkvo --no-kv-offload", "no_kv_offload"),
        _switch("--swa-full", "swa_full"),
        _switch("--context-shift", "ctx_shift"),
        _switch("--no-warmup", "warmup", to=False),
        _choice(
            "-fa --flash-attn",
            "flash_attn_type",
            {
                "on": flash.LLAMA_FLASH_ATTN_TYPE_ENABLED,
                "off": flash.LLAMA_FLASH_ATTN_TYPE_DISABLED,
                "auto": flash.LLAMA_FLASH_ATTN_TYPE_AUTO,
            },
        ),
        _number("--rope-freq-base", "rope_freq_base"),
        _number("--rope-freq-scale", "rope_freq_scale"),
        _Flag(names=("--lora",), value="FILE,…", apply=lora),
        _Flag(names=("--lora-scaled",), value="FILE:SCALE,…", apply=lora_scaled),
        _switch("--embedding --embeddings", "embedding"),
        _Flag(names=("--rerank", "--reranking"), value="", apply=rerank),
        _choice("--pooling", "pooling_type", members("llama_pooling_type", "LLAMA_POOLING_TYPE_")),
        _switch("--metrics", "endpoint_metrics"),
        _switch("--slots", "endpoint_slots"),
        _switch("--no-slots", "endpoint_slots", to=False),
        _switch("--no-ui --no-webui", "ui", to=False),
        _switch("--jinja", "use_jinja"),
        _switch("--no-jinja", "use_jinja", to=False),
        _text("--chat-template", "chat_template"),
        _integer("--reasoning-budget", "sampling.reasoning_budget_tokens"),
        _number("--temp --temperature", "sampling.temp"),
        _integer("--top-k", "sampling.top_k"),
        _number("--top-p", "sampling.top_p"),
        _number("--min-p", "sampling.min_p"),
        _integer("--sleep-idle-seconds", "sleep_idle_seconds"),
        _text("--cors-origins", "cors_origins", "ORIGINS"),
        _text("--api-prefix", "api_prefix", "PATH"),
        _integer("-lv --verbosity --log-verbosity", "verbosity"),
    )


def _parse(arguments: Sequence[str], table: Sequence[_Flag], params: Params) -> None:
    """Apply each flag in turn; raise _FlagError at the first that cannot be."""
    known = {name: flag for flag in table for name in flag.names}
    words = iter(arguments)
    for word in words:
        flag = known.get(word)
        if flag is None:
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}? " if near else ""
            raise _FlagError(
                f"cannot understand {word}: {hint}`python -m reconciler.act.llama_server --help` lists all"
            )
        value = next(words, None) if flag.value else ""
        if value is None:
            raise _FlagError(f"cannot set {word}: give {flag.value} after it")
        try:
            flag.apply(params, value)
        except _FlagError as error:
            raise _FlagError(f"cannot set {word} to {value!r}: {error}") from None


def _unusable(params: Params) -> str | None:
    """Why this cannot come up, as far as that shows before trying: the port, the files."""
    for host in params.hostnames:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, params.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            return f"cannot listen on {host}:{params.port}: {error.strerror}; choose another port"
    for path in (params.model.path, params.mmproj.path, *(adapter.path for adapter in params.lora_adapters)):
        if path:
            try:
                with open(path, "rb") as file:
                    magic = file.read(4)
            except OSError as error:
                return f"cannot load {path}: {error.strerror}"
            if magic != b"GGUF":
                return f"cannot load {path}: it is no GGUF file; llama.cpp needs one"
    if not (params.model.path or params.model.url or params.model.hf_repo):
        return "cannot start without a model: give --model FILE or --hf-repo REPO"
    return None


def _fail(message: str, *, after: float = 0.0) -> NoReturn:
    """`after`: seconds for what the library's own thread has to say before; what it says later is not heard."""
    time.sleep(after)
    last = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with open(last, "w", encoding="utf-8", errors="backslashreplace") as stderr:
        stderr.write(("\n" if after else "") + message + "\n")  # who was silenced may have been amid a line
    os._exit(1)  # threads of the library may still run: nothing is left to them


def _wake(_number: int, _frame: object) -> None:
    """Nothing: the byte in the wakeup pipe says it."""


def _serve(library: Any, params: Params) -> NoReturn:
    read, write = os.pipe()
    os.set_blocking(write, False)  # as set_wakeup_fd wants it
    try:
        server = library.Server(params)  # loads the model; SIGTERM has its default effect until it returns
    except Exception as error:  # noqa: BLE001 - whatever the library throws, the last line says what failed
        name = params.model.path or params.model.hf_repo or params.model.url
        _fail(_unusable(params) or f"cannot load {name}: {error}; the lines above say why", after=_SAID)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _wake)
    sys.stderr.write(f"serving on {server.listening_address}\n")
    sys.stderr.flush()
    os.read(read, 1)
    # Not through the destructor: it waits for streams in flight, and whoever sends SIGTERM has drained already.
    sys.stderr.write("asked to end\n")
    sys.stderr.flush()
    os._exit(0)


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve until SIGTERM (exit 0), or exit 1 with a last line that says why not."""
    library = importlib.import_module("xllamacpp")
    table = _table(library)
    if {"-h", "--help"} & set(arguments):
        lines = (f"  {', '.join(flag.names)} {flag.value}".rstrip() for flag in table)
        sys.stdout.write(
            "The llama.cpp server of the xllamacpp wheel; flags as of llama-server:\n" + "\n".join(lines) + "\n"
        )
        sys.exit(0)
    params = library.CommonParams()
    params.n_parallel = -1  # llama-server's own default
    params.port = 8080
    params.cors_origins = "localhost"  # llama-server's "*" lets any web page that a person visits use the model
    try:
        _parse(arguments, table, params)
    except _FlagError as error:
        _fail(str(error))
    if problem := _unusable(params):
        _fail(problem)
    _serve(library, params)


if __name__ == "__main__":
    main(sys.argv[1:])
