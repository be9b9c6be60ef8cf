"""B14: our estimate against what llama.cpp allocates, for models of many architectures, and the rules of two peers.

The files have real headers and holes for weights; llama.cpp maps them and allocates every buffer as for a real model.
On the CPU the buffers are those a GPU would hold, once llama.cpp is told to leave weights in the order of the file.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.engines import gguf, measured
from reconciler.engines.flags import LlamaSettings
from reconciler.engines.llamacpp_memory import RUNTIME, llamacpp
from reconciler.model.weights import Weights
from tests.bench.living import OUT
from tests.bench.rows import Row
from tests.engines import gguf_files, shapes

BENCH = "B14"
MIB, GIB = 2**20, 2**30

LARGE, SMALL = 1024 * MIB, 192 * MIB
"""Bytes of weights, at most, of the files that all rules are compared on, and of those for the other settings: layers
are left out until they are. Fewer layers make it harder, not easier: what is computed weighs more."""
FIRST = LlamaSettings(context=8192)
OTHERS = (
    LlamaSettings(context=8192, parallel=4),
    LlamaSettings(context=4096, ubatch=256),
    LlamaSettings(context=4096, keys="q8_0", values="q8_0"),
    LlamaSettings(context=2048, flash=False),
)
_LOAD = """
import json, os, sys
import xllamacpp
told = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = told["path"], told["context"], told["parallel"]
params.n_batch, params.n_ubatch = told["batch"], told["ubatch"]
params.cache_type_k = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + told["keys"].upper())
params.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + told["values"].upper())
flash = xllamacpp.llama_flash_attn_type
params.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_AUTO if told["flash"] else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
params.port, params.n_gpu_layers, params.verbosity = 0, 0, 4
params.fit_params = params.warmup = False
params.no_extra_bufts = True  # weights stay in the order of the file, as on a GPU
server = xllamacpp.Server(params)
sys.stderr.flush()
os._exit(0)
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model under one setting: bytes by component, and what each rule says in all."""

    name: str
    layers: int
    setting: LlamaSettings
    seen: tuple[int, int, int]
    """Weights, cache, compute with output."""
    ours: tuple[int, int, int]
    gpustack: int
    ollama: int | None

    def off(self, part: int) -> float:
        """Percent that our component is off, of what was seen; 0 where there is none."""
        return 100 * abs(self.ours[part] / self.seen[part] - 1) if self.seen[part] else 0.0

    @property
    def total_off(self) -> float:
        """Percent that our sum is off."""
        return 100 * abs(sum(self.ours) / sum(self.seen) - 1)

    def peer_off(self, rule: int) -> float:
        """Percent that a peer's rule is off: what it adds for the runtime is granted to it."""
        return 100 * abs(rule / (sum(self.seen) + RUNTIME) - 1)


def rows(quick: bool) -> list[Row]:
    """Loads every model with llama.cpp. Details go to bench-out/b14.txt."""
    names = ("gpt2 large", "mamba 1.4B") if quick else tuple(shapes.SHAPES)
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place:
        for name in names:
            cases += _cases(name, SMALL if quick else LARGE, (FIRST,), Path(place))
            cases += [] if quick else _cases(name, SMALL, OTHERS, Path(place))
    OUT.mkdir(exist_ok=True)
    (OUT / "b14.txt").write_text("\n".join(map(_line, cases)) + "\n")
    worst = max(case.total_off for case in cases)
    large = [case for case in cases if case.setting.context == FIRST.context and case.setting.parallel == 1]
    stack = [case.peer_off(case.gpustack) for case in large]
    ollama = [case.peer_off(case.ollama) for case in large if case.ollama is not None]
    mean = statistics.mean(case.total_off for case in cases)
    return [
        _row("llama.cpp buffers, worst % off", worst, 5, max(stack), "gpustack's rule"),
        _row("llama.cpp buffers, worst % off", worst, 5, max(ollama, default=0.0), "ollama's rule"),
        _row("llama.cpp buffers, mean % off", mean, 5, statistics.mean(stack), "gpustack's rule"),
        _row("llama.cpp buffers, mean % off", mean, 5, statistics.mean(ollama) if ollama else 0.0, "ollama's rule"),
        _row("weights alone, worst % off", max(case.off(0) for case in cases), 5),
        _row("KV and states alone, worst % off", max(case.off(1) for case in cases), 5),
        _row("compute and output alone, mean % off", statistics.mean(case.off(2) for case in cases), 5),
        _row("compute and output alone, worst % off", max(case.off(2) for case in cases)),
    ]


def _row(measure: str, ours: float, most: float | None = None, peer: float | None = None, name: str = "") -> Row:
    return Row(
        bench=BENCH,
        measure=measure,
        ours=ours,
        peer=peer,
        peer_name=name,
        target=f"<= {most:g}" if most is not None else "",
        good=ours <= most if most is not None else None,
    )


def _cut(shape: shapes.Shape, most: int) -> shapes.Shape:
    """The same with fewer layers, until its weights are no more than that; 2 at least, and hybrids as they are."""
    while (
        shape.layers > 2 and not shape.recurrent and sum(map(gguf_files.nbytes, shapes.tensors(shape).values())) > most
    ):
        shape = replace(shape, layers=shape.layers - 1)
    return shape


def _cases(name: str, most: int, settings: Sequence[LlamaSettings], place: Path) -> list[Case]:
    shape = _cut(replace(shapes.SHAPES[name], kind="Q4_0"), most)
    values, tensors = shapes.metadata(shape), shapes.tensors(shape)
    path = gguf_files.write(place / "model.gguf", values, tensors)
    with path.open("rb") as file:
        of = gguf.parse(file.read(gguf.HEADER))
    if not isinstance(of, Weights):
        raise TypeError(f"{name}: {of.reason}")
    found: list[Case] = []
    for setting in settings:
        setting = replace(setting, offloaded=0, as_is=True)
        seen = _load(path, setting)
        if seen is None:
            sys.stderr.write(f"cannot load {name} with {setting}: left out\n")
            continue
        host = llamacpp(of, setting, ())[1]
        found.append(
            Case(
                name=name,
                layers=shape.layers,
                setting=setting,
                seen=seen,
                ours=(host.weights + host.spare, host.cache, host.compute),
                gpustack=of.total * 12 // 10 + 2 * GIB,
                ollama=_ollama(values, of, setting),
            )
        )
    path.unlink()
    return found


def _load(path: Path, setting: LlamaSettings) -> tuple[int, int, int] | None:
    told = {key: getattr(setting, key) for key in ("context", "parallel", "batch", "ubatch", "keys", "values", "flash")}
    words = [sys.executable, "-c", _LOAD, json.dumps({**told, "path": str(path)})]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, errors="replace")
    found = measured.llamacpp(done.stderr.splitlines())
    if done.returncode != 0 or not found:
        return None
    return (
        sum(device.weights for device in found),
        sum(device.cache for device in found),
        sum(device.compute + device.output for device in found),
    )


def _ollama(values: dict[str, gguf_files.Value], of: Weights, setting: LlamaSettings) -> int | None:
    """Ollama's rule as the wheel carries it: weights, its KV cache, its graph, and what it leaves on each GPU."""
    from xllamacpp.memory import graph_size  # pyright: ignore[reportMissingTypeStubs]

    try:
        cache, _, graph = graph_size(
            {key: {"value": value} for key, value in values.items()},
            context_length=setting.context,
            batch_size=setting.ubatch,
            num_parallel=setting.parallel,
            kv_cache_type=setting.keys,
        )
    except (KeyError, ZeroDivisionError, TypeError):
        return None
    return int(of.total + sum(cache) + graph + 512 * MIB)


def _line(case: Case) -> str:
    told = case.setting
    what = f"-c {told.context} -np {told.parallel} -ub {told.ubatch} {told.keys}{'' if told.flash else ' -fa off'}"
    parts = "  ".join(
        f"{name} {seen / MIB:.1f} {ours / MIB:.1f}"
        for name, seen, ours in zip(("weights", "cache", "compute"), case.seen, case.ours, strict=True)
    )
    ollama = "" if case.ollama is None else f"  ollama {case.peer_off(case.ollama):.0f} %"
    stack = f"  gpustack {case.peer_off(case.gpustack):.0f} %"
    off = f"off {case.total_off:.2f} % (compute {case.off(2):.1f} %)"
    return f"{case.name:16} {case.layers:2} layers {what:34} {off}  {parts}{stack}{ollama}"
