"""What a unit of ours is: from a narrow order that nobody needs to trust → `systemd-run`'s arguments. Pure.

Here is decided what an engine may do, and by nobody who asks for one. Standard library only.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

SLICE = "holdfast.slice"
PATTERN = "holdfast-*.service"
TOKEN, SLOT, RUN, STATE = (f"HOLDFAST_{word}" for word in ("TOKEN", "SLOT", "RUN", "STATE"))
"""Fields that all it logs carries, and that show whose it is."""
CACHES = "holdfast-engines"
"""Below /var/cache: the home of each instance, which its next run finds again."""
_SLOT = re.compile(r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/(\d{1,4})")
_TOKEN = re.compile(r"[0-9a-f]{32}")
_GPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,99}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LONGEST = 24 * 3600.0
"""Seconds of grace at most."""
_ENDING = b"\0holdfast: "
_NOT_PLAIN = re.compile(r'(["\\$`])')

WALLS = (
    "DynamicUser=yes",
    "UMask=0077",
    "CapabilityBoundingSet=",
    "NoNewPrivileges=yes",
    "DevicePolicy=closed",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "ProtectProc=invisible",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
)
"""What stands around every engine: model files are code. Not MemoryDenyWriteExecute=, as they compile kernels."""
WAYS = (
    "RemainAfterExit=yes",  # with it, how one ended can be read until it is started again
    "KillMode=control-group",
    "OOMPolicy=kill",
    "OOMScoreAdjust=500",
    "TasksMax=16384",
    "LimitNOFILE=1024:524288",
    "LimitMEMLOCK=infinity",
    "LimitCORE=0",
    "StandardInput=null",
    "SyslogLevelPrefix=no",  # what it says is no less true where it begins with <3>
)


class OrderError(Exception):
    """An order that is not carried out, and why."""


class Order:
    """What may be chosen of a unit. `OrderError` where a part of it is not as it has to be."""

    def __init__(self, packet: Mapping[str, Any]) -> None:
        self.slot, self.token = slot_of(packet), token_of(packet)
        self.run = _whole(packet, "run", 1, 2**53)
        self.argv = _words(packet, "argv")
        if not self.argv or not self.argv[0].startswith("/"):
            raise OrderError("cannot run it: its program is no absolute path")
        self.env = _variables(packet)
        directory = packet.get("directory")
        self.directory = None if directory is None else _text(directory)
        if self.directory is not None and not self.directory.startswith("/"):
            raise OrderError("cannot run it: its directory is no absolute path")
        self.memory = None if packet.get("memory") is None else _whole(packet, "memory", 2**20, 2**60)
        self.gpus = _words(packet, "gpus")
        if not all(_GPU.fullmatch(gpu) for gpu in self.gpus):
            raise OrderError("cannot understand the name of a gpu")
        self.grace = grace_of(packet)


def slot_of(packet: Mapping[str, Any]) -> str:
    """The slot that a packet is about."""
    slot = packet.get("slot")
    if not isinstance(slot, str) or not _SLOT.fullmatch(slot):
        raise OrderError("cannot understand which slot is meant")
    return slot


def token_of(packet: Mapping[str, Any]) -> str:
    """The token of the run that a packet is about."""
    token = packet.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise OrderError("cannot understand which run is meant")
    return token


def grace_of(packet: Mapping[str, Any]) -> float:
    """Seconds between SIGTERM and SIGKILL."""
    grace = packet.get("grace")
    if not isinstance(grace, int | float) or not 0 <= grace <= LONGEST:
        raise OrderError("cannot understand its grace")
    return float(grace)


def name(slot: str) -> str:
    """`chat/0` → `holdfast-chat-0.service`. Names are DNS labels, so nothing is to be escaped."""
    found = _SLOT.fullmatch(slot)
    if found is None:
        raise OrderError(f"cannot name a unit after {slot!r}")
    return f"holdfast-{found[1]}-{found[2]}.service"


def home(slot: str) -> str:
    """What it may write to, and finds again in its next run."""
    return f"/var/cache/{CACHES}/{slot.replace('/', '.')}"


class Weights:
    """A directory that engines may read, though one above it is closed to others, and stays so outside."""

    def __init__(self, path: str, closed: str | None) -> None:
        self.path, self.closed = path, closed


def command(order: Order, *, state: str, weights: Weights, env_file: str, devices: Iterable[str]) -> list[str]:
    """What starts it."""
    properties = [*WAYS, *WALLS, *_places(order, weights), *_limits(order), *devices]
    for key, value in ((TOKEN, order.token), (SLOT, order.slot), (RUN, order.run), (STATE, state)):
        properties.append(f"LogExtraFields={key}={value}")
    properties.append(f"EnvironmentFile={env_file}")
    return [
        "systemd-run",
        "--quiet",
        "--no-ask-password",
        "--service-type=exec",
        f"--slice={SLICE}",
        f"--unit={name(order.slot)}",
        f"--description=Holdfast: {order.slot}, run {order.run}",
        *(f"--property={each}" for each in properties),
        "--",
        *(word.replace("$", "$$") for word in order.argv),  # else systemd fills in variables
    ]


def _places(order: Order, weights: Weights) -> Iterator[str]:
    own = order.slot.replace("/", ".")
    yield f"CacheDirectory={CACHES}/{own}"
    yield "CacheDirectoryMode=0700"
    yield f"WorkingDirectory={order.directory or home(order.slot)}"
    yield f"SyslogIdentifier={own}"
    yield "Before=holdfast.service"  # when the machine goes down, the daemon goes before them
    if weights.closed is not None:
        yield f"TemporaryFileSystem={weights.closed}:ro"
        yield f"BindReadOnlyPaths=-{weights.path}"


def _limits(order: Order) -> Iterator[str]:
    yield f"TimeoutStopSec={order.grace or 0.001:.3f}"
    if order.memory is not None:
        yield f"MemoryMax={order.memory}"
        yield "MemorySwapMax=0"
    if not order.gpus:
        yield "PrivateDevices=yes"


def environment(order: Order) -> str:
    """Its variables as a file for systemd, which `systemctl show` does not show."""
    own = {"HOME": home(order.slot), "LANG": "C.UTF-8"}
    given = {**own, **order.env, TOKEN: order.token, SLOT: order.slot}
    plain = {key: _NOT_PLAIN.sub(r"\\\1", value) for key, value in given.items()}
    return "".join(f'{key}="{value}"\n' for key, value in plain.items())


def shown(text: str) -> list[dict[str, str]]:
    """What `systemctl show` prints of several units: each as a mapping, with our fields among the others."""
    found: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        lines = (line.partition("=") for line in block.splitlines())
        unit = {key: value for key, _, value in lines if key}
        for field in unit.pop("LogExtraFields", "").split():
            key, _, value = field.partition("=")
            unit[key] = value
        if unit:
            found.append(unit)
    return found


def devices(gpus: Sequence[str], nvidia: Mapping[str, int], groups: Sequence[str]) -> list[str]:
    """What of /dev it sees of GPUs: of NVIDIA's its own cards alone, by the minor numbers of their UUIDs.

    `groups`: those that the GPUs of other makers are open to.
    """
    if not gpus:
        return []
    minors = [nvidia.get(gpu) for gpu in gpus]
    shared = ["char-nvidia-uvm", "char-nvidia-caps", "/dev/nvidiactl", "/dev/nvidia-modeset", "char-infiniband*"]
    if None not in minors:
        return [f"DeviceAllow={node} rw" for node in (*shared, *(f"/dev/nvidia{minor}" for minor in minors))]
    # a part of a card, or another maker's
    nodes = ("char-nvidia*", "char-drm", "char-kfd", "char-infiniband*")
    return [*(f"DeviceAllow={node} rw" for node in nodes), *(f"SupplementaryGroups={group}" for group in groups)]


def _whole(packet: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = packet.get(key)
    if not isinstance(value, int) or not least <= value <= most:
        raise OrderError(f"cannot understand its {key}")
    return value


def _words(packet: Mapping[str, Any], key: str) -> list[str]:
    value = packet.get(key)
    if not isinstance(value, list):
        raise OrderError(f"cannot understand its {key}")
    words: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return [_text(word) for word in words]


def _variables(packet: Mapping[str, Any]) -> dict[str, str]:
    value = packet.get("env")
    if not isinstance(value, dict):
        raise OrderError("cannot understand its env")
    variables: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    for key in variables:
        if not _KEY.fullmatch(key):
            raise OrderError(f"cannot set {key!r} in a unit: use letters, digits and _")
    return {key: _text(text) for key, text in variables.items()}


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value or (not value.isascii() and not _encodes(value)):
        raise OrderError("cannot pass on what is no text, or holds a NUL")
    return value


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def ending(why: str) -> bytes:
    """What stands behind all that the journal told, where it ended by itself: part of no entry."""
    return _ENDING + why.encode(errors="replace")


def why_ended(left: bytes) -> str:
    """The words of `ending`, of what is left behind the last whole entry; empty where there are none."""
    return left.rpartition(_ENDING)[2].decode(errors="replace") if _ENDING in left else ""
