"""A machine to come to by ssh: Debian's sshd on a port of its own, with keys, users and a configuration of its own."""

import getpass
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.eventually import eventually
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Machine:
    """It answers to `gpu2` while `machine` is open."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(mode=0o700)
        self.port = free_port()
        for name in ("host", "user", "other"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(place / name))
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "", "-f", str(place / "locked"))
        taken = "".join((place / f"{name}.pub").read_text() for name in ("user", "locked"))
        (place / "authorized").write_text(taken)
        (place / "known").write_text(f"[127.0.0.1]:{self.port} {(place / 'host.pub').read_text()}")
        self.configure()
        holdfast = f"env PYTHONPATH={ROOT} {sys.executable} -m reconciler.cli"
        self.env = {"HOLDFAST_SSH": f"ssh -F {place / 'config'}", "HOLDFAST_REMOTE": holdfast}
        """What a user has in their environment."""
        self.server: subprocess.Popen[bytes] | None = None

    def configure(self, *more: str, key: str = "user", port: int | None = None) -> None:
        """The user's configuration."""
        lines = [
            *("Host gpu2", "HostName 127.0.0.1", f"Port {port or self.port}", f"User {getpass.getuser()}"),
            *(f"IdentityFile {self.place / key}", "IdentitiesOnly yes", "IdentityAgent none"),
            *(f"UserKnownHostsFile {self.place / 'known'}", "GlobalKnownHostsFile none"),
            *more,
        ]
        (self.place / "config").write_text("\n".join(lines) + "\n")

    def start(self, *more: str) -> None:
        """Listen, with these lines of sshd_config before all others."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # as its unit does
        lines = [
            *more,
            *(f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.place / 'host'}", "PidFile none"),
            *(f"AuthorizedKeysFile {self.place / 'authorized'}", "PasswordAuthentication no", "UsePAM no"),
            *("KbdInteractiveAuthentication no", "StrictModes no", "PermitRootLogin yes", "LogLevel VERBOSE"),
        ]
        (self.place / "sshd_config").write_text("\n".join(lines) + "\n")
        with (self.place / "log").open("ab") as log:
            argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.place / "sshd_config")]
            self.server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=log)
        eventually(self._listens, what="sshd")

    def stop(self) -> None:
        """Listen no more. Connections stay."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
            self.server = None

    @property
    def logins(self) -> int:
        """How often somebody came."""
        return (self.place / "log").read_text().count("Accepted publickey")

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def machine(place: Path) -> Generator[Machine, None, None]:
    """One that listens."""
    made = Machine(place)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def clients(at: Machine) -> list[int]:
    """The processes of ssh that lead there."""
    mark = shlex.split(at.env["HOLDFAST_SSH"])[-1].encode()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"ssh" and mark in words:
                found.append(int(name))
    return found


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)
