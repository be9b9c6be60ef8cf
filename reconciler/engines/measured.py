"""What an engine says it allocated: lines of its log → bytes by device, and of the GPU that gives most. Pure.

llama.cpp says it with `--log-verbosity 4` only (before May 2026, always), which is never set for it: with that, each
request lists all prompts that are cached, 100 KiB of log and more. vLLM and SGLang say it by default.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from reconciler.model.plan import Launch

Part = Literal["weights", "cache", "compute", "output"]

_BUFFER = re.compile(
    r"(?:^|\s)(?P<device>[A-Za-z][\w.-]{0,63}) +(?P<part>model|KV|RS|compute|output) buffer size *= *"
    r"(?P<size>\d{1,9}(?:\.\d{1,6})?) MiB"
)
_PARTS: dict[str, Part] = {
    "model": "weights", "KV": "cache", "RS": "cache", "compute": "compute", "output": "output",
}  # fmt: skip
_BEGINS = re.compile(r"load_model: loading model '")
_REHEARSAL = re.compile(r"fitting params to (?:device memory|(free memory) took)")
_NUMBERED = re.compile(r"[A-Za-z]+(\d{1,3})")
_HOST = re.compile(r"^(?:CPU|BLAS|ACCEL|.*_Host$|.*_Mapped$)")
_RANK = re.compile(r"(?:(?:Worker|VllmWorker)\D*?(?:TP|rank[= ])|\[[\d :.-]{19,24}(?: PP\d{1,3})? TP)(\d{1,3})")
_STAGE = re.compile(r"(?:Worker\D*?|\[[\d :.-]{19,24} )PP(\d{1,3})")
Lines = tuple[tuple[re.Pattern[str], Part], ...]
_VLLM: Lines = (
    (re.compile(r"[Mm]odel (?:loading|weights) took (\d{1,6}(?:\.\d+)?) Gi?B"), "weights"),
    (re.compile(r"Available KV cache memory: (\d{1,6}(?:\.\d+)?) GiB"), "cache"),
    (re.compile(r"Graph capturing finished in \d+ secs, took (\d{1,6}(?:\.\d+)?) GiB"), "compute"),
    (re.compile(r"PyTorch activation peak memory takes (\d{1,6}(?:\.\d+)?) ?GiB"), "compute"),
)
_SGLANG: Lines = (
    (re.compile(r"Load weight end\. .*mem usage=(\d{1,6}(?:\.\d+)?) GB"), "weights"),
    (re.compile(r"KV Cache is allocated\. .*?K size: (\d{1,6}(?:\.\d+)?) GB, V size: (\d{1,6}(?:\.\d+)?) GB"), "cache"),
    (re.compile(r"KV [Cc]ache (?:is )?allocated\. .*?KV size: (\d{1,6}(?:\.\d+)?) GB"), "cache"),
    (re.compile(r"Capture [\w ]{0,40}[Gg]raph end\. .*mem usage=(\d{1,6}(?:\.\d+)?) GB"), "compute"),
)
"""It writes GB, and means GiB."""
_AFTER = "Post-capture KV sizing"
"""How a line begins that says the size of a pool anew."""
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
    rehearses = False  # `--fit` allocates nothing of what it says, at higher verbosities
    for line in lines:
        text = line[:_LINE]
        if _BEGINS.search(text):
            found.clear()  # it slept and woke; a draft model begins with other words, and counts on top
        if (fit := _REHEARSAL.search(text)) is not None:
            rehearses = fit[1] is None
        match = _BUFFER.search(text)
        if match is not None and not rehearses:
            found.setdefault(match["device"], Counter())[_PARTS[match["part"]]] += round(float(match["size"]) * _MIB)
    return _devices(found)


def vllm(lines: Iterable[str]) -> tuple[Measured, ...]:
    """What each rank of vLLM took, sorted. Empty: nothing was said. The driver's own part is in none of its lines."""
    return _ranks(lines, _VLLM, adds=("compute",))


def sglang(lines: Iterable[str]) -> tuple[Measured, ...]:
    """The same of SGLang. A draft model, and a second pool, are said in lines of their own."""
    return _ranks(lines, _SGLANG, adds=("weights", "cache", "compute"))


def _ranks(lines: Iterable[str], said: Lines, *, adds: tuple[Part, ...]) -> tuple[Measured, ...]:
    found: dict[str, Counter[Part]] = {}
    for line in lines:
        text = line[:_LINE]
        for pattern, part in said:
            match = pattern.search(text)
            if match is None:
                continue
            device = found.setdefault(_rank(text[: match.start()]), Counter())
            size = round(sum(map(float, match.groups())) * _GIB)
            device[part] = size + (device[part] if part in adds and _AFTER not in text else 0)
    return _devices(found)


def stated(launch: Launch, lines: Iterable[str]) -> int | None:
    """Bytes on that of its GPUs which gives most; None where not all of it was said, or not by these GPUs.

    Of llama.cpp without the driver's own part, which it does not know. vLLM and SGLang take the share that they were
    given, whatever they use it for: what they say only ever adds to that.
    """
    if launch.engine == "llamacpp":
        found = [device for device in llamacpp(lines) if not device.host]
        numbers = [_NUMBERED.fullmatch(device.device) for device in found]
        ours = all(number is not None and int(number[1]) < len(launch.gpus) for number in numbers)
        whole = all(device.weights and device.compute for device in found)
        return max((device.total for device in found), default=None) if ours and whole else None
    if launch.engine in ("vllm", "sglang"):
        ranks = vllm(lines) if launch.engine == "vllm" else sglang(lines)
        whole = len(ranks) <= len(launch.gpus) and all(rank.weights and rank.cache for rank in ranks)
        return max(*(rank.total for rank in ranks), launch.memory or 0) if ranks and whole else None
    return None


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
