"""Real container engines of the tests' own: data, socket and network, and one image made of busybox."""

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from docker import APIClient
from docker.errors import APIError

from tests.eventually import eventually

IMAGE = "holdfast-test:1"
BUSYBOX = "/bin/busybox"
"""Of Debian's busybox-static: a program that needs no library, and so no distribution around it."""
APPLETS = ("sh", "sleep", "httpd", "echo", "cat", "tail", "seq", "true", "yes", "env", "mkdir", "touch", "dd", "df")
_STARTS = 60.0
_PODMAN = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
"""


class Engine:
    """One that answers by Docker's API. Everything of it is gone after `close`."""

    def __init__(self, name: str) -> None:
        self.place = Path(tempfile.mkdtemp(prefix=f"hf-{name}-"))
        self.socket = self.place / "s"
        self.host = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> APIClient:
        return APIClient(base_url=self.host, version="1.41", timeout=60)

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self, *more: str, **env: str) -> None:
        """Start it, and wait until it answers."""
        with open(self.place / "log", "ab") as log:
            self._process = process = subprocess.Popen(
                [*self.argv(), *more], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **env}
            )

        def answers() -> bool:
            assert process.poll() is None, f"it has ended: {(self.place / 'log').read_text()[-2000:]}"
            with contextlib.suppress(Exception):
                return bool(self.client.ping())
            return False

        eventually(answers, within=_STARTS, what="the container engine answers")

    def stop(self) -> None:
        """End it as its machine would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=_STARTS)
            self._process = None

    def load(self, root: bytes | Path, name: str) -> None:
        """Have an image of this root directory, a tar, by a name with a tag."""
        (repository, _, tag), client = name.partition(":"), self.client
        if isinstance(root, bytes):
            told = client.import_image_from_data(root, repository=repository, tag=tag)
        else:
            told = client.import_image_from_file(str(root), repository=repository, tag=tag)
        self.client.tag(json.loads(told.splitlines()[-1])["status"], f"docker.io/library/{repository}", tag, force=True)

    def containers(self, **labels: str):
        """All that there are, with these labels; inspected."""
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        client, found = self.client, []
        for each in client.containers(all=True, filters=wanted):
            try:
                found.append(client.inspect_container(each["Id"]))
            except APIError as error:
                if "no such container" not in str(error).lower():  # it is gone already; of one that just goes, Podman
                    raise  # says so with a status of 500
        return found

    def one(self, name: str):
        return self.client.inspect_container(name)

    def clear(self) -> list[str]:
        """Remove every container; the names of those that were running."""
        client = self.client
        found = client.containers(all=True)
        for each in found:
            with contextlib.suppress(APIError):  # it is going already
                client.remove_container(each["Id"], force=True, v=True)
        return [each["Names"][0] for each in found if each["State"] == "running"]

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.clear()
        self.stop()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.place}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.place, ignore_errors=True)


class Dockerd(Engine):
    """Docker, with a bridge of its own."""

    def __init__(self) -> None:
        super().__init__("dockerd")
        chosen = random.randrange(16 * 250)  # beside each other, and beside pids that mean nothing outside
        self._bridge = f"hf-{chosen}"
        subnet = f"172.{16 + chosen % 16}.{chosen // 16}.1/24"
        for words in (
            ("link", "add", self._bridge, "type", "bridge"),
            ("addr", "add", subnet, "dev", self._bridge),
            ("link", "set", self._bridge, "up"),
        ):
            subprocess.run(["ip", *words], check=True)
        self.start()
        self.load(root_directory(), IMAGE)

    def argv(self) -> list[str]:
        argv = ["dockerd", "--data-root", f"{self.place}/data", "--exec-root", f"{self.place}/run", "-H", self.host]
        argv += ["--pidfile", f"{self.place}/pid", "--bridge", self._bridge, "--iptables=false", "--ip6tables=false"]
        return [*argv, "--ip-forward=false", "--ip-masq=false"]

    def close(self) -> None:
        super().close()
        subprocess.run(["ip", "link", "del", self._bridge], check=False)


class Podman(Engine):
    """Podman's service, which answers by the same API."""

    def __init__(self) -> None:
        super().__init__("podman")
        (self.place / "conf").write_text(_PODMAN)
        self.start()
        self.load(root_directory(), IMAGE)

    def argv(self) -> list[str]:
        places = [f"--{name}={self.place}/{name}" for name in ("root", "runroot", "tmpdir")]
        return ["podman", *places, "system", "service", "--time=0", self.host]

    def start(self, *more: str, **env: str) -> None:
        super().start(*more, CONTAINERS_CONF=f"{self.place}/conf", **env)


def root_directory() -> bytes:
    """A root directory: busybox under its names."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for directory in ("bin", "tmp", "etc"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        tar.add(BUSYBOX, "bin/busybox")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return made.getvalue()
