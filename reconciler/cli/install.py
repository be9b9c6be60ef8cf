"""Makes the daemon a service of this machine, and takes that away again: deeds, listed before any of them is done."""

import argparse
import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

from reconciler import __version__
from reconciler.cli.places import SYSTEM
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.model.errors import ApiError, HoldfastError

USER = "holdfast"
UNIT = "/etc/systemd/system/holdfast.service"
CONFIG = "/etc/holdfast"
ENVIRONMENT = f"{CONFIG}/environment"
SECRETS = f"{CONFIG}/secrets"
SWEEPING = "/etc/tmpfiles.d/holdfast.conf"
COMMAND = "/usr/local/bin/holdfast"
_OURS = "# Written by `holdfast install`"
_SWEEPING = f"{_OURS}: what engines leave in their /tmp.\nd {SYSTEM[1]}/tmp 0700 {USER} {USER} 10d\n"  # noqa: S108  not ours: the file says whose
_ENVIRONMENT = """\
# Variables of the daemon, as NAME=value, read when it starts: `systemctl restart holdfast`, which no engine notices.
# HTTPS_PROXY=http://proxy.example:3128
# HF_ENDPOINT=https://mirror.example
"""
_DEVICES = ("video", "render")
"""Groups that GPUs other than NVIDIA's are open to."""
_NOBODY = 65534


class Deed(NamedTuple):
    """One thing to do, in words, and what does it."""

    text: str
    does: Callable[[], object]


def install(chosen: argparse.Namespace) -> int:
    """Install, or bring up to date; with nothing left to do, say so."""
    _refuse()
    _refuse_private_program()
    deeds = [*_installing()]
    _do(deeds, dry=chosen.dry_run)
    if chosen.dry_run:
        return 0
    screen = Screen()
    screen.say("installed; holdfast.service is active" if deeds else "all is installed; holdfast.service is active")
    screen.say(f"Next: write {SYSTEM[0]}/NAME.yaml, then `holdfast status`; `systemctl status holdfast`,")
    screen.say("`journalctl -u holdfast`; `usermod -aG holdfast YOU` lets you use `holdfast` without being root")
    return 0


def uninstall(chosen: argparse.Namespace) -> int:
    """Stop the daemon and its engines, and take away what `install` made."""
    _refuse()
    deeds = [*_uninstalling(purge=chosen.purge)]
    if not deeds:
        Screen().say("nothing is installed")
        return 0
    _do(deeds, dry=chosen.dry_run)
    kept = [path for path in (CONFIG, SYSTEM[1]) if os.path.exists(path)]
    if kept and not chosen.purge:
        Screen().say(f"kept: {', '.join(kept)}; `holdfast uninstall --purge` removes them too")
    return 0


def _do(deeds: Sequence[Deed], *, dry: bool) -> None:
    """Say each deed, and do it."""
    screen = Screen()
    if dry:
        screen.say("would do:" if deeds else "nothing is to be done")
    for deed in deeds:
        screen.say(f"  {deed.text}")
        if not dry:
            deed.does()


# -- what is to be done


def _installing() -> Iterator[Deed]:
    if not _there(pwd.getpwnam, USER):
        group = ("--gid", USER) if _there(grp.getgrnam, USER) else ("--user-group",)
        home = ("--home-dir", SYSTEM[1], "--no-create-home", "--shell", "/usr/sbin/nologin")
        yield _command("useradd", "--system", *group, *home, USER)
    wanted = [group for group in _DEVICES if _there(grp.getgrnam, group) and USER not in grp.getgrnam(group).gr_mem]
    if wanted:
        yield _command("usermod", "-aG", ",".join(wanted), USER)
    for path, mode, group in ((CONFIG, 0o755, "root"), (SYSTEM[0], 0o750, USER), (SECRETS, 0o700, "root")):
        if not os.path.isdir(path):
            yield Deed(f"make {path} (root:{group} {mode:04o})", lambda p=path, m=mode, g=group: _make(p, m, g))
    if os.path.isdir(SYSTEM[0]) and not _belongs(SYSTEM[0], USER):
        yield _command("chgrp", USER, SYSTEM[0])
    if not os.path.exists(ENVIRONMENT):
        yield Deed(f"write {ENVIRONMENT}", lambda: _write(ENVIRONMENT, _ENVIRONMENT, 0o640))
    changed = False
    for path, text in ((SWEEPING, _SWEEPING), (UNIT, unit())):
        if _text(path) != text:
            _refuse_foreign(path)
            changed = True
            yield Deed(f"write {path}", lambda p=path, t=text: _write(p, t, 0o644))
    program = os.path.join(os.path.dirname(sys.executable), "holdfast")
    if not os.path.lexists(COMMAND) and os.path.exists(program):
        yield Deed(f"link {COMMAND} to {program}", lambda: os.symlink(program, COMMAND))
    if changed:
        yield _command("systemctl", "daemon-reload")
    if not _succeeds("systemctl", "is-enabled", "--quiet", "holdfast"):
        yield _command("systemctl", "enable", "--quiet", "holdfast")
    if not _succeeds("systemctl", "is-active", "--quiet", "holdfast"):
        yield _command("systemctl", "start", "holdfast")
    elif changed or _running_version() != __version__:
        yield _command("systemctl", "restart", "holdfast", why="engines go on")


def _uninstalling(*, purge: bool) -> Iterator[Deed]:
    unit_there = os.path.exists(UNIT)
    if unit_there:
        _refuse_foreign(UNIT)
        yield _command("systemctl", "disable", "--quiet", "--now", "holdfast")
    if os.path.isdir(f"{SYSTEM[1]}/slots"):
        yield Deed("stop every engine", _stop_engines)
    drop_in = f"{UNIT}.d"
    remove = [UNIT, SWEEPING, os.path.dirname(SYSTEM[2])]
    remove += [COMMAND] if _is_ours(COMMAND) else []
    remove += [ENVIRONMENT] if _text(ENVIRONMENT) == _ENVIRONMENT else []
    remove += [SECRETS] if os.path.isdir(SECRETS) and not os.listdir(SECRETS) else []
    if purge:
        remove += [drop_in, CONFIG, SYSTEM[1]]
    yield from (Deed(f"remove {path}", lambda p=path: _remove(p)) for path in remove if os.path.lexists(path))
    if unit_there:
        yield _command("systemctl", "daemon-reload")
    if _there(pwd.getpwnam, USER):
        if os.path.isdir(SYSTEM[1]) and not purge:
            # a number that belongs to nobody may be given to somebody; a new install gives it all back
            yield _command("chown", "-R", "root:root", SYSTEM[1])
        if os.path.isdir(SYSTEM[0]) and not purge:
            yield _command("chgrp", "root", SYSTEM[0])
        yield _command("userdel", USER)
        if any(member != USER for member in grp.getgrnam(USER).gr_mem):  # else it goes with its user
            yield _command("groupdel", USER)


def unit() -> str:
    """The service's file, for this machine and this program."""
    template = files("reconciler.cli").joinpath("holdfast.service").read_text()
    path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    own = os.path.dirname(sys.executable)
    places = {
        "PYTHON": sys.executable,
        "PATH": ":".join(dict.fromkeys((own, *path))),
    }
    for name, value in places.items():
        template = template.replace(f"@{name}@", value.replace("%", "%%"))
    return template


# -- what stands against it


def _refuse() -> None:
    if os.geteuid() != 0:
        raise HoldfastError("cannot change the services of this machine: only root may; try it with sudo")
    if not os.path.isdir("/run/systemd/system"):
        raise HoldfastError(
            "cannot install a service: this machine was not booted with systemd; `holdfast run` is the daemon in the "
            "foreground, for whatever else keeps it running"
        )


def _refuse_private_program() -> None:
    """The service's user has to be able to run what we are."""
    if any(letter.isspace() or letter in "\"'\\$" for letter in sys.executable):
        raise HoldfastError(f"cannot run {sys.executable} as a service: choose a path without spaces and quotes")
    if not (_reachable(sys.executable) and _runs_for_nobody()):
        raise HoldfastError(
            f"cannot run {sys.executable} as another user: a directory above it, or Holdfast itself, is closed to "
            "others; install it where all may read, as with `python3 -m venv /opt/holdfast && /opt/holdfast/bin/pip "
            "install holdfast`, and give `/opt/holdfast/bin/holdfast install`"
        )


def _runs_for_nobody() -> bool:
    argv = [sys.executable, "-P", "-m", "reconciler.cli", "--version"]
    env = {"PATH": os.defpath}
    done = subprocess.run(
        argv, user=_NOBODY, group=_NOBODY, extra_groups=[], cwd="/", env=env, capture_output=True, check=False
    )
    return done.returncode == 0


def _reachable(path: str) -> bool:
    """Whether everybody may pass through all directories above it, links followed."""
    for form in (path, os.path.realpath(path)):
        above = os.path.dirname(form)
        while above != "/":
            if not os.stat(above).st_mode & 0o001:
                return False
            above = os.path.dirname(above)
    return True


def _refuse_foreign(path: str) -> None:
    text = _text(path)
    if text is not None and not text.startswith(_OURS):
        raise HoldfastError(f"cannot replace or remove {path}: somebody else wrote it; move it away first")


def _is_ours(command: str) -> bool:
    """Whether it is a link to a program beside this interpreter, or to one that is gone."""
    if not os.path.islink(command):
        return False
    to = os.readlink(command)
    return os.path.dirname(to) == os.path.dirname(sys.executable) or not os.path.exists(to)


# -- doing it


def _command(*argv: str, why: str = "") -> Deed:
    return Deed(f"{' '.join(argv)}{f'  ({why})' if why else ''}", lambda: _run(argv))


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise HoldfastError(f"cannot run {argv[0]}: {(error.strerror or str(error)).lower()}") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"it ended with status {done.returncode}"
        raise HoldfastError(f"cannot {' '.join(argv)}: {said}; mend that, and give the same command again")


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _running_version() -> str | None:
    try:
        return Client(SYSTEM[2]).info().version
    except ApiError:
        return None


def _stop_engines() -> None:
    from reconciler.cli.engines import stop_all

    ended = stop_all(SYSTEM[1], forget=True)
    Screen().say(f"    stopped {', '.join(ended)}" if ended else "    none was running")


def _there(ask: Callable[[str], object], name: str) -> bool:
    try:
        ask(name)
    except KeyError:
        return False
    return True


def _belongs(path: str, group: str) -> bool:
    return _there(grp.getgrnam, group) and os.stat(path).st_gid == grp.getgrnam(group).gr_gid


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _make(path: str, mode: int, group: str) -> None:
    os.mkdir(path)
    os.chmod(path, mode)
    os.chown(path, 0, grp.getgrnam(group).gr_gid)


def _write(path: str, text: str, mode: int) -> None:
    """Whole or not at all."""
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        os.chmod(fresh, mode)
        file.write(text)
    os.replace(fresh, path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
