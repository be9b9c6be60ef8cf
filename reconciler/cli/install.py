"""Makes daemon and gateway services of this machine, and takes that away again: deeds, listed before any is done."""

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

from reconciler import __version__, booted
from reconciler.act.units.manager import ORDERS
from reconciler.booted import USER, WEIGHTS
from reconciler.cli import install_checks
from reconciler.cli.places import SYSTEM
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.model.errors import ApiError, HoldfastError

_UNITS = "/etc/systemd/system"
UNIT = f"{_UNITS}/holdfast.service"
BROKER = (f"{_UNITS}/holdfast-units.service", booted.BROKER)
"""Through them a daemon without rights has engines run as units."""
GATEWAY = f"{_UNITS}/holdfast-gateway.service"
_GATEWAY_STATE = ("/var/lib/holdfast-gateway", "/var/lib/private/holdfast-gateway")
CACHE = os.path.dirname(WEIGHTS)
_HOMES = ("/var/cache/holdfast-engines", "/var/cache/private/holdfast-engines")
CONFIG = "/etc/holdfast"
ENVIRONMENT = f"{CONFIG}/environment"
SECRETS = f"{CONFIG}/secrets"
FILES = "/etc/tmpfiles.d/holdfast.conf"
COMMAND = "/usr/local/bin/holdfast"
_OURS = "# Written by `holdfast install`"
GATEWAYS = os.path.basename(booted.GATEWAYS)
"""The group whose members may be gateways."""
_FILES = f"""\
{_OURS}: what engines leave in their /tmp, and where the daemon's socket for gateways is.
d {SYSTEM[1]}/tmp 0700 {USER} {USER} 10d
d {booted.GATEWAYS} 2750 {USER} {GATEWAYS}
"""  # noqa: S108  not ours: the file says whose
_ENVIRONMENT = """\
# Variables of the daemon, as NAME=value, read when it starts: `systemctl restart holdfast`, which no engine notices.
# HTTPS_PROXY=http://proxy.example:3128
# HF_ENDPOINT=https://mirror.example
"""
_DEVICES = ("video", "render")
"""Groups that GPUs other than NVIDIA's are open to."""
_DIRECTORIES = (
    (CONFIG, 0o755, "root:root"),
    (SYSTEM[0], 0o750, f"root:{USER}"),
    (SECRETS, 0o700, "root:root"),
    (CACHE, 0o750, f"root:{USER}"),
    (WEIGHTS, 0o755, f"{USER}:{USER}"),
)
_SOCKET = "holdfast-units.socket"
_ENABLED = ("holdfast", "holdfast-gateway", _SOCKET)
_NOBODY = 65534


class Deed(NamedTuple):
    """One thing to do, in words, and what does it."""

    text: str
    does: Callable[[], object]


def install(chosen: argparse.Namespace) -> int:
    """Install, or bring up to date; with nothing left to do, say so."""
    install_checks.refuse()
    install_checks.refuse_program()
    install_checks.refuse_account(USER, SYSTEM[1])
    deeds = [*_installing()]
    _do(deeds, dry=chosen.dry_run)
    if chosen.dry_run:
        return 0
    screen = Screen()
    active = "holdfast.service and holdfast-gateway.service are active"
    screen.say(f"{'' if deeds else 'all is '}installed; {active}")
    screen.say(f"Next: write {SYSTEM[0]}/NAME.yaml, then `holdfast status`; `systemctl status holdfast`,")
    screen.say("`journalctl -u holdfast`; `usermod -aG holdfast YOU` lets you use `holdfast` without being root")
    return 0


def uninstall(chosen: argparse.Namespace) -> int:
    """Stop the daemon and its engines, and take away what `install` made."""
    install_checks.refuse()
    deeds = [*_uninstalling(purge=chosen.purge)]
    if not deeds:
        Screen().say("nothing is installed")
        return 0
    _do(deeds, dry=chosen.dry_run)
    kept = [path for path in (CONFIG, SYSTEM[1], CACHE) if os.path.exists(path)]
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
        try:
            if not dry:
                deed.does()
        except OSError as error:
            why = f"{error.filename or ''}: {(error.strerror or str(error)).lower()}".removeprefix(": ")
            raise HoldfastError(f"cannot {deed.text}: {why}; mend that, and give the same command again") from None


# -- what is to be done


def _installing() -> Iterator[Deed]:
    if not _there(grp.getgrnam, GATEWAYS):
        yield _command("groupadd", "--system", GATEWAYS)
    if not _there(pwd.getpwnam, USER):
        group = ("--gid", USER) if _there(grp.getgrnam, USER) else ("--user-group",)
        home = ("--home-dir", SYSTEM[1], "--no-create-home", "--shell", "/usr/sbin/nologin")
        yield _command("useradd", "--system", *group, *home, USER)
    wanted = [group for group in _DEVICES if _there(grp.getgrnam, group) and USER not in grp.getgrnam(group).gr_mem]
    if wanted:
        yield _command("usermod", "-aG", ",".join(wanted), USER)
    for path, mode, owner in _DIRECTORIES:
        if not os.path.isdir(path):
            yield Deed(f"make {path} ({owner} {mode:04o})", lambda p=path, m=mode, o=owner: _make(p, m, o))
        elif not _belongs(path, owner):
            yield _command("chown", *(("-R",) if path == WEIGHTS else ()), owner, path)
        if os.path.isdir(path) and os.stat(path).st_mode & 0o777 & ~mode:
            yield _command("chmod", f"{mode:04o}", path)
    if not os.path.exists(ENVIRONMENT):
        yield Deed(f"write {ENVIRONMENT}", lambda: _write(ENVIRONMENT, _ENVIRONMENT, 0o640))
    changed = False
    for path, text in ((FILES, _FILES), *((path, unit(path)) for path in (*BROKER, UNIT, GATEWAY))):
        if _text(path) != text:
            _refuse_foreign(path)
            changed = True
            yield Deed(f"write {path}", lambda p=path, t=text: _write(p, t, 0o644))
    program = os.path.join(os.path.dirname(sys.executable), "holdfast")
    if os.path.exists(program) and (
        not os.path.lexists(COMMAND) or (_is_ours(COMMAND) and not _same(COMMAND, program))
    ):
        yield Deed(f"link {COMMAND} to {program}", lambda: _link(COMMAND, program))
    if not (os.path.isdir(booted.GATEWAYS) and _belongs(booted.GATEWAYS, f"{USER}:{GATEWAYS}")):
        yield _command("systemd-tmpfiles", "--create", "--prefix", booted.GATEWAYS, FILES)
    changed = changed or _cut_off()
    if changed:
        yield _command("systemctl", "daemon-reload")
    if not all(_succeeds("systemctl", "is-enabled", "--quiet", name) for name in _ENABLED):
        yield _command("systemctl", "enable", "--quiet", *_ENABLED)
    if not _succeeds("systemctl", "is-active", "--quiet", _SOCKET):
        yield _command("systemctl", "start", _SOCKET)
    elif changed or _running_version() != __version__:
        yield _command("systemctl", "try-restart", "holdfast-units")
    if not _succeeds("systemctl", "is-active", "--quiet", "holdfast"):
        yield _command("systemctl", "start", "holdfast")
    elif changed or _running_version() != __version__ or _older_than_its_unit("holdfast", UNIT):
        yield _command("systemctl", "restart", "holdfast", why="engines go on")
    if not _succeeds("systemctl", "is-active", "--quiet", "holdfast-gateway"):
        yield _command("systemctl", "start", "holdfast-gateway")
    elif _older_than_its_unit("holdfast-gateway", GATEWAY):
        yield _command("systemctl", "restart", "holdfast-gateway", why="answers that have begun are finished first")
    elif changed or not _says_of("StatusText", "holdfast-gateway").startswith(f"version {__version__};"):
        yield _command("systemctl", "reload", "holdfast-gateway", why="no request notices")


def _uninstalling(*, purge: bool) -> Iterator[Deed]:
    unit_there = os.path.exists(UNIT)
    if unit_there:
        _refuse_foreign(UNIT)
        if _succeeds("systemctl", "is-active", "--quiet", "holdfast-gateway"):
            yield _command("systemctl", "kill", "holdfast-gateway", why="the stop that follows cuts what goes on")
        yield _command("systemctl", "disable", "--quiet", "--now", "holdfast-gateway", "holdfast")
    if any(os.path.isdir(f"{SYSTEM[1]}/{where}") for where in ("slots", "containers", "units")):
        yield Deed("stop every engine", _stop_engines)
    if any(map(os.path.exists, BROKER)):
        yield _command("systemctl", "disable", "--quiet", "--now", _SOCKET, "holdfast-units.service")
    if _succeeds("systemctl", "is-active", "--quiet", "holdfast.slice"):
        yield _command("systemctl", "stop", "holdfast.slice")
    drop_in = f"{UNIT}.d"
    remove = [
        UNIT,
        GATEWAY,
        *BROKER,
        FILES,
        os.path.dirname(SYSTEM[2]),
        booted.GATEWAYS,
        ORDERS,
        *_HOMES,
        *_GATEWAY_STATE,
    ]
    remove += [COMMAND] if _is_ours(COMMAND) else []
    remove += [ENVIRONMENT] if _text(ENVIRONMENT) == _ENVIRONMENT else []
    remove += [SECRETS] if os.path.isdir(SECRETS) and not os.listdir(SECRETS) else []
    if purge:
        remove += [drop_in, f"{GATEWAY}.d", CONFIG, SYSTEM[1], CACHE]
    yield from (Deed(f"remove {path}", lambda p=path: _remove(p)) for path in remove if os.path.lexists(path))
    if unit_there:
        yield _command("systemctl", "daemon-reload")
    if install_checks.is_ours(USER, SYSTEM[1]):
        yield Deed(f"end what else runs as {USER}", _end_all)
        if os.path.isdir(SYSTEM[1]) and not purge:
            # a number that belongs to nobody may be given to somebody; a new install gives it all back
            yield _command("chown", "-R", "root:root", SYSTEM[1], CACHE)
        if os.path.isdir(SYSTEM[0]) and not purge:
            yield _command("chgrp", "root", SYSTEM[0])
        yield _command("userdel", USER)
        if any(member != USER for member in grp.getgrnam(USER).gr_mem):  # else it goes with its user
            yield _command("groupdel", USER)
    if _there(grp.getgrnam, GATEWAYS):
        yield _command("groupdel", GATEWAYS)


def unit(name: str) -> str:
    """The text of a unit's file, for this machine and this program."""
    template = files("reconciler.cli").joinpath(os.path.basename(name)).read_text()
    path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    own = os.path.dirname(sys.executable)
    places = {
        "PYTHON": sys.executable,
        "WEIGHTS": WEIGHTS,
        "PATH": ":".join(dict.fromkeys((own, *path))),
    }
    for place, value in places.items():
        template = template.replace(f"@{place}@", value.replace("%", "%%"))
    return template


# -- what stands against it


def _refuse_foreign(path: str) -> None:
    text = _text(path)
    if text is not None and not text.startswith(_OURS):
        raise HoldfastError(f"cannot replace or remove {path}: somebody else wrote it; move it away first")


def _is_ours(command: str) -> bool:
    """Whether it is a link to this program in some environment, which may be gone."""
    return os.path.islink(command) and os.path.basename(os.readlink(command)) == "holdfast"


def _same(command: str, program: str) -> bool:
    return os.readlink(command) == program


def _cut_off() -> bool:
    """Whether an install wrote its files, and systemd does not know of it."""
    units = ("holdfast", "holdfast-gateway", "holdfast-units", _SOCKET)
    return "yes" in _says("systemctl", "show", "--property=NeedDaemonReload", "--value", *units).split()


def _older_than_its_unit(name: str, path: str) -> bool:
    """Whether it was started before what it is to be was written."""
    began = _says_of("ExecMainStartTimestamp", name).removeprefix("@")
    return began.isdigit() and os.path.exists(path) and int(began) < int(os.stat(path).st_mtime)


def _says_of(what: str, name: str) -> str:
    """A property of a unit, as systemd knows it; times in seconds since the epoch, after an @."""
    return _says("systemctl", "show", f"--property={what}", "--value", "--timestamp=unix", name).strip()


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


def _says(*argv: str) -> str:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


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


def _belongs(path: str, owner: str) -> bool:
    user, group = owner.split(":")
    if not (_there(pwd.getpwnam, user) and _there(grp.getgrnam, group)):
        return False
    found = os.stat(path)
    return (found.st_uid, found.st_gid) == (pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _make(path: str, mode: int, owner: str) -> None:
    os.mkdir(path)
    os.chmod(path, mode)
    shutil.chown(path, *owner.split(":"))


def _write(path: str, text: str, mode: int) -> None:
    """Whole or not at all."""
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        os.chmod(fresh, mode)
        file.write(text)
    os.replace(fresh, path)


def _link(path: str, to: str) -> None:
    fresh = f"{path}.new"
    os.symlink(to, fresh)
    os.replace(fresh, path)


def _end_all() -> None:
    """Nothing may go on under a number that is about to be nobody's, and then somebody else's."""
    kill = "import contextlib, os\nwith contextlib.suppress(ProcessLookupError):\n    os.kill(-1, 9)"
    subprocess.run([sys.executable, "-I", "-c", kill], user=USER, group=USER, extra_groups=[], cwd="/", check=True)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
