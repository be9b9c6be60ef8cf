"""What an engine says it allocated: lines of its log → bytes by device. Pure.

llama.cpp says it with `--log-verbosity 4`, and both servers stay silent without; vLLM says it by default.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Part = Literal["weights", "cache", "compute", "output"]

_BUFFER = re.compile(
    r"(?:^|\s)(?P<device>[A-Za-z][\w.-]{0,63}) +(?P<part>model|KV|RS|compute|output) buffer size *= *"
    r"(?P<size>\d{1,9}(?:\.\d{1,6})?) MiB"
)
_PARTS: dict[str, Part] = {
    "model": "weights", "KV": "cache", "RS": "cache", "compute": "compute", "output": "output",
}  # fmt: skip
_BEGINS = re.compile(r"load_model: loading model '")
_HOST = re.compile(r"^(?:CPU|BLAS|ACCEL|.*_Host$|.*_Mapped$)")
_RANK = re.compile(r"(?:Worker|VllmWorker)\D*?(?:TP|rank[= ])(\d{1,3})")
_STAGE = re.compile(r"Worker\D*?PP(\d{1,3})")
_VLLM: tuple[tuple[re.Pattern[str], Part], ...] = (
    (re.compile(r"[Mm]odel (?:loading|weights) took (\d{1,6}(?:\.\d+)?) Gi?B"), "weights"),
    (re.compile(r"Available KV cache memory: (\d{1,6}(?:\.\d+)?) GiB"), "cache"),
    (re.compile(r"Graph capturing finished in \d+ secs, took (\d{1,6}(?:\.\d+)?) GiB"), "compute"),
    (re.compile(r"PyTorch activation peak memory takes (\d{1,6}(?:\.\d+)?) ?GiB"), "compute"),
)
_LINE = 4096
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Bytes of one device, by what they are for."""

    device: str
    """As the engine calls it: `CUDA0`, `CPU`, `rank 0`."""
    host: bool
    """Whether it is memory of the host."""
    weights: int = 0
    cache: int = 0
    compute: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.compute + self.output


def llamacpp(lines: Iterable[str]) -> tuple[Measured, ...]:
    """Buffers of llama.cpp by device, sorted; of the last load where it loaded again. Empty: none were said."""
    found: dict[str, Counter[Part]] = {}
    for line in lines:
        text = line[:_LINE]
        if _BEGINS.search(text):
            found.clear()  # it slept and woke; a draft model begins with other words, and counts on top
        match = _BUFFER.search(text)
        if match is not None:
            found.setdefault(match["device"], Counter())[_PARTS[match["part"]]] += round(float(match["size"]) * _MIB)
    return _devices(found)


def vllm(lines: Iterable[str]) -> tuple[Measured, ...]:
    """What each rank of vLLM took, sorted. Empty: nothing was said. The driver's own part is in none of its lines."""
    found: dict[str, Counter[Part]] = {}
    for line in lines:
        text = line[:_LINE]
        for pattern, part in _VLLM:
            match = pattern.search(text)
            if match is not None:
                device = found.setdefault(_rank(text[: match.start()]), Counter())
                device[part] = (
                    device[part] + round(float(match[1]) * _GIB) if part == "compute" else round(float(match[1]) * _GIB)
                )
    return _devices(found)


def gpus(found: Iterable[Measured]) -> int:
    """Bytes of GPU memory in all."""
    return sum(device.total for device in found if not device.host)


def _rank(prefix: str) -> str:
    rank, stage = _RANK.search(prefix), _STAGE.search(prefix)
    return f"rank {rank[1] if rank else 0}" + (f" stage {stage[1]}" if stage else "")


def _devices(found: dict[str, Counter[Part]]) -> tuple[Measured, ...]:
    return tuple(
        Measured(
            device=device,
            host=_HOST.match(device) is not None,
            weights=parts["weights"],
            cache=parts["cache"],
            compute=parts["compute"],
            output=parts["output"],
        )
        for device, parts in sorted(found.items())
    )
