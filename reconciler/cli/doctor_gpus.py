"""What is wrong with the GPUs of this machine, with what containers need for them, and with who may reach engines."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping

from reconciler.cli.finding import Finding
from reconciler.model.observation import Gpu, Unknown
from reconciler.model.status import Status
from tui.view.paint import gib

TOOLKIT = (
    "apt install nvidia-container-toolkit && nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
)


def gpus() -> Iterator[Finding]:
    """The cards, their drivers, and the ports that something listens on."""
    from reconciler.observe import nvidia
    from reconciler.observe.gather import offline

    seen = offline((), time.monotonic)
    if isinstance(seen.gpus, Unknown):
        yield Finding("bad", f"GPUs: {seen.gpus.reason}", "nvidia-smi")
    elif seen.gpus:
        driver = f", driver {seen.host.driver}" if seen.host.driver else ""
        yield Finding("ok", f"GPUs: {', '.join(f'{gpu.model} {gib(gpu.memory)} GiB' for gpu in seen.gpus)}{driver}")
        yield from cards(seen.gpus, nvidia.persistence())
    else:
        yield Finding("warn", "GPUs: none; models run on the CPU")
    if isinstance(seen.ports, Unknown):
        yield Finding("bad", f"listening ports: {seen.ports.reason}")


def cards(found: tuple[Gpu, ...], persistent: Mapping[int, bool], *, kfd: str = "/dev/kfd") -> Iterator[Finding]:
    """What stands in the way of using these. `persistent`: whether each NVIDIA card keeps its driver loaded."""
    for gpu in found:
        if gpu.cordoned:
            yield Finding("bad", f"gpu {gpu.index} is cordoned: {gpu.cordoned}", f"nvidia-smi -q -i {gpu.uuid}")
    loose = [str(index) for index, on in persistent.items() if not on]
    if loose:
        text = f"gpu {', '.join(loose)}: persistence mode is off; each start of an engine loads the driver anew"
        yield Finding("warn", text, "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1")
    elif persistent:
        yield Finding("ok", "persistence mode is on")
    if any(gpu.maker == "nvidia" for gpu in found) and shutil.which("docker"):
        if shutil.which("nvidia-ctk"):
            yield Finding("ok", "containers: the NVIDIA container toolkit is installed")
        else:
            yield Finding("warn", "containers: without the NVIDIA container toolkit they get no GPUs", TOOLKIT)
    if any(gpu.maker == "amd" for gpu in found) and not os.access(kfd, os.R_OK | os.W_OK):
        yield Finding("bad", f"AMD: {kfd} may not be opened", f"usermod -aG render,video {_user()}, then log in again")


def exposed(status: Status) -> Iterator[Finding]:
    """Engines that others than this machine can reach."""
    from reconciler.observe.ports import listeners

    found = listeners()
    if isinstance(found, Unknown):
        return
    everywhere = {one.port for one in found if one.rank in (1, 2)}
    for row in status.workloads.values():
        for replica in row.replicas:
            if replica.port in everywhere and replica.pid is not None:
                text = (
                    f"{replica.slot} listens on port {replica.port} of every address: others may use it without a key"
                )
                mend = (
                    f"nft add rule inet filter input iifname != lo tcp dport {replica.port} drop, or `--host 127.0.0.1`"
                )
                yield Finding("warn", text, mend)


def _user() -> str:
    return os.environ.get("USER") or str(os.geteuid())
