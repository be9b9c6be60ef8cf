"""A launch → what the container engine is asked to create. Pure.

Whoever may speak to the engine sees the environment of a container, and with it the values of secrets: there is no
other way to hand a variable to any image. Labels carry references to secrets only, and the command line none.
"""

from collections.abc import Mapping
from typing import Any

from reconciler.model.container import Container
from reconciler.model.plan import Launch
from reconciler.model.secret import Secret

_OOM_SCORE = 500
_LOG = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}}


def environment(launch: Launch, secrets: Mapping[str, str]) -> list[str]:
    """Its variables, secrets filled in."""
    return [
        f"{key}={secrets[value.secret] if isinstance(value, Secret) else value}" for key, value in launch.env.items()
    ]


def body(
    launch: Launch, container: Container, *, labels: Mapping[str, str], secrets: Mapping[str, str], cdi: bool
) -> dict[str, Any]:
    """What to create. `cdi`: GPUs are asked for as CDI devices."""
    program, *arguments = launch.argv or ("",)
    host: dict[str, Any] = {
        "Init": True,  # a first process that is no init ignores SIGTERM, and buries no orphans
        "RestartPolicy": {"Name": "no"},
        "SecurityOpt": ["no-new-privileges"],
        "OomScoreAdj": _OOM_SCORE,
        "LogConfig": _LOG,
        "ShmSize": container.shm,
        "Mounts": [
            {
                "Type": "bind" if mount.source.startswith("/") else "volume",
                "Source": mount.source,
                "Target": mount.target,
                "ReadOnly": not mount.writable,
            }
            for mount in container.mounts
        ],
    }
    made: dict[str, Any] = {
        "Image": container.image,
        "Env": environment(launch, secrets),
        "Labels": dict(labels),
        "HostConfig": host,
    }
    if launch.argv:
        made |= {"Entrypoint": [program], "Cmd": arguments}
    if launch.directory is not None:
        made["WorkingDir"] = launch.directory
    if container.memory is not None:
        host |= {"Memory": container.memory, "MemorySwap": container.memory}
    if launch.port is not None:
        port = f"{launch.port}/tcp"
        made["ExposedPorts"] = {port: {}}
        host["PortBindings"] = {port: [{"HostIp": "127.0.0.1", "HostPort": str(launch.port)}]}
    if launch.gpus and cdi:
        host["DeviceRequests"] = [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid}" for uuid in launch.gpus]}]
    elif launch.gpus:
        host["DeviceRequests"] = [{"DeviceIDs": list(launch.gpus), "Capabilities": [["gpu"]]}]
    return made


def offers_cdi(info: Mapping[str, Any], gpus: tuple[str, ...]) -> bool:
    """Whether the engine says that it knows all of these GPUs as CDI devices."""
    known = {str(device.get("ID")) for device in info.get("DiscoveredDevices") or () if device.get("Source") == "cdi"}
    return bool(gpus) and all(f"nvidia.com/gpu={uuid}" in known for uuid in gpus)
