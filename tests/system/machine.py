"""A Debian 12 machine of the tests' own: its tree made once by debootstrap, booted with its systemd in a container.

`python -m tests.system.machine` makes the tree, ahead of whoever boots it.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from reconciler.client import Client
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "/opt/holdfast"
HOLDFAST = f"{PROGRAM}/bin/holdfast"
_PACKAGES = "systemd,systemd-sysv,dbus,python3,procps,libgomp1"
_IMAGE = "holdfast-machine"
_LATEST = 60.0
# as on a machine, where what is mounted in one place is seen in all: systemd leaves that alone in a container
_INIT = ("sh", "-c", "mount --make-rshared / && exec /sbin/init")
_BOOT = (
    *("--network=none", "--stop-signal=SIGRTMIN+3", "--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"),
    *("--security-opt=apparmor=unconfined", "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"),
    *("--tmpfs=/run", "--tmpfs=/run/lock", "--env=container=docker"),
)


def tree() -> Path:
    """The machine's files as a tar; made where it is missing (`HOLDFAST_TEST_CACHE`), which takes a minute."""
    cache = Path(os.environ.get("HOLDFAST_TEST_CACHE") or Path.home() / ".cache" / "holdfast-tests")
    made = cache / "bookworm-2.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits for the first
        if made.exists():
            return made
        with tempfile.TemporaryDirectory(dir=cache) as place:
            root, tar = f"{place}/root", f"{place}/tar"
            words = ("--variant=minbase", f"--include={_PACKAGES}", "bookworm", root)
            subprocess.run(["debootstrap", *words], check=True, stdout=subprocess.DEVNULL)
            leave = [f"--exclude=./{each}" for each in ("var/cache/apt/*", "var/lib/apt/lists/*", "dev/*")]
            subprocess.run(["tar", "-c", "-C", root, *leave, "-f", tar, "."], check=True)
            os.replace(tar, made)
    return made


class Dockerd:
    """A Docker engine without a network; nothing of it is left after `close`."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="hf-machine-"))
        self.host = f"unix://{self.place}/s"
        argv = ["dockerd", "--data-root", f"{self.place}/data", "--exec-root", f"{self.place}/run", "-H", self.host]
        argv += ["--pidfile", f"{self.place}/pid", "--bridge=none", "--iptables=false", "--ip-masq=false"]
        log = self.place / "log"
        with open(log, "ab") as out:
            self._process = process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

        def answers() -> bool:
            assert process.poll() is None, f"dockerd has ended: {log.read_text()[-2000:]}"
            return self.do("version", check=False).returncode == 0

        eventually(answers, within=_LATEST, what="dockerd answers")
        self.do("import", str(tree()), _IMAGE, within=300.0)

    def do(self, *words: str, check: bool = True, within: float = 120.0) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "-H", self.host, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=within, check=False)
        assert not (check and done.returncode), f"docker {' '.join(words)}: {done.stderr}{done.stdout}"
        return done

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_LATEST)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.place}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        shutil.rmtree(self.place, ignore_errors=True)


class Machine:
    """One booted machine, with Holdfast laid down in /opt/holdfast as `python3 -m venv` and `pip install` do it."""

    def __init__(self, docker: Dockerd, place: Path) -> None:
        self._docker = docker
        libraries = sysconfig.get_paths()["purelib"]
        self._id = docker.do(
            "run", "-d", *_BOOT, f"--volume={libraries}:/opt/libraries:ro", _IMAGE, *_INIT
        ).stdout.strip()
        _lay_down(place)
        docker.do("cp", f"{place}/.", f"{self._id}:/opt")
        self.booted()

    def booted(self) -> None:
        """Wait until all is up that the machine starts by itself."""
        eventually(
            lambda: self.do("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"),
            within=_LATEST,
            what="the machine has booted",
        )

    def do(self, *argv: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run a command on it."""
        return self._docker.do("exec", "--user", user, self._id, *argv, check=False)

    def says(self, *argv: str, user: str = "root") -> str:
        """What a command prints, which must not fail."""
        done = self.do(*argv, user=user)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    @property
    def client(self) -> Client:
        """Its daemon, spoken to from here: quicker than a command on it."""
        pid = self._docker.do("inspect", "--format={{.State.Pid}}", self._id).stdout.strip()
        return Client(f"/proc/{pid}/root/run/holdfast/holdfast.sock")

    def shown(self, what: str, unit: str = "holdfast") -> str:
        """A property of a service."""
        return self.do("systemctl", "show", "--value", "-p", what, unit).stdout.strip()

    def journal(self, unit: str = "holdfast") -> str:
        return self.do("journalctl", "--no-pager", "-n", "200", "-u", unit).stdout

    def write(self, path: str, text: str) -> None:
        done = subprocess.run(
            ["docker", "-H", self._docker.host, "exec", "-i", self._id, "sh", "-c", f"cat > {path}"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def reboot(self) -> None:
        self._docker.do("restart", "--time", "60", self._id)
        self.booted()

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self._docker.do("rm", "-f", "-v", self._id)


def _lay_down(place: Path) -> None:
    """An environment for the machine's own interpreter, with this checkout; other libraries are those of the tests."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert version == "3.11", f"Debian 12 has Python 3.11, the libraries at hand are for {version}"
    program = place / PROGRAM.removeprefix("/opt/")
    site = program / "lib" / f"python{version}" / "site-packages"
    site.mkdir(parents=True)
    for package in ("reconciler", "tui"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "libraries.pth").write_text("/opt/libraries\n")
    (program / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (program / "bin").mkdir()
    for name in ("python", "python3"):
        (program / "bin" / name).symlink_to("/usr/bin/python3")
    script = program / "bin" / "holdfast"
    script.write_text(f"#!{PROGRAM}/bin/python\nimport sys\n\nfrom reconciler.cli import main\n\nsys.exit(main())\n")
    script.chmod(0o755)
    shutil.copy(ROOT / "models/demo.gguf", place / "demo.gguf")


if __name__ == "__main__":
    tree()
