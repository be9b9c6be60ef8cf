"""What a container engine is asked to create: nothing that a launch says is left out."""

from dataclasses import replace

import pytest

from reconciler.act.docker.api import RefusedError
from reconciler.act.docker.body import body, offers_cdi
from reconciler.act.docker.labels import name
from reconciler.act.docker.pull import Progress
from reconciler.model.container import Container, Mount
from reconciler.model.secret import Secret
from tests.act.stage import launch

CONTAINER = Container(
    image="vllm/vllm-openai:v1",
    mounts=(Mount(source="/m", target="/m"), Mount(source="cache", target="/c", writable=True)),
    shm=2**30,
    memory=2**31,
)
LAUNCH = replace(
    launch(argv=("vllm", "serve", "/m"), env={"A": "b", "HF_TOKEN": Secret(secret="hf")}, directory="/work"),
    port=9000,
    gpus=("GPU-1", "GPU-2"),
    container=CONTAINER,
)


def asked(*, cdi: bool = False):
    return body(LAUNCH, CONTAINER, labels={"holdfast.slot": "chat/0"}, secrets={"hf": "canary"}, cdi=cdi)


def test_everything_a_launch_says_is_asked_for():
    made = asked()
    assert (made["Image"], made["Entrypoint"], made["Cmd"]) == ("vllm/vllm-openai:v1", ["vllm"], ["serve", "/m"])
    assert made["Env"] == ["A=b", "HF_TOKEN=canary"]
    assert made["WorkingDir"] == "/work"
    assert made["Labels"] == {"holdfast.slot": "chat/0"}
    host = made["HostConfig"]
    assert host["PortBindings"] == {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9000"}]}
    assert host["RestartPolicy"] == {"Name": "no"}
    assert (host["ShmSize"], host["Memory"], host["MemorySwap"]) == (2**30, 2**31, 2**31)
    assert host["DeviceRequests"] == [{"DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}]
    assert host["Mounts"] == [
        {"Type": "bind", "Source": "/m", "Target": "/m", "ReadOnly": True},
        {"Type": "volume", "Source": "cache", "Target": "/c", "ReadOnly": False},
    ]


def test_gpus_are_cdi_devices_where_the_engine_knows_all_of_them():
    known = {"DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu=GPU-{n}"} for n in (1, 2)]}
    assert offers_cdi(known, LAUNCH.gpus)
    assert not offers_cdi(known, ("GPU-3",))
    assert not offers_cdi({}, LAUNCH.gpus)
    devices = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}
    assert asked(cdi=True)["HostConfig"]["DeviceRequests"] == [devices]


def test_names_are_those_of_slots():
    assert name("a-1/0") == "holdfast-a-1-0"


def test_progress_counts_the_layers_that_are_known_and_an_error_is_the_registrys():
    progress = Progress()
    assert progress.bytes == (0, None)
    for layer, done in (("a", 1), ("b", 3)):
        progress.take(
            {"id": layer, "status": "Downloading", "progressDetail": {"current": done << 30, "total": 4 << 30}}
        )
    assert progress.bytes == (4 << 30, 8 << 30)
    progress.take({"id": "a", "status": "Download complete", "progressDetail": {}})
    assert progress.bytes == (7 << 30, 8 << 30)
    progress.take({"id": "b", "status": "Download complete"})
    assert progress.bytes == (8 << 30, 8 << 30)
    with pytest.raises(RefusedError, match="no space left"):
        progress.take({"errorDetail": {"message": "no space left"}, "error": "no space left"})
