"""What stands against making the daemon a service: no systemd, a program that others may change, a foreign account."""

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator

import reconciler
from reconciler.model.errors import HoldfastError

_NOBODY = 65534
_CLOSED = ("nologin", "false")


def refuse() -> None:
    """Only root, and only where systemd runs. Raises HoldfastError."""
    if os.geteuid() != 0:
        raise HoldfastError("cannot change the services of this machine: only root may; try it with sudo")
    if not os.path.isdir("/run/systemd/system"):
        raise HoldfastError(
            "cannot install a service: this machine was not booted with systemd; `holdfast run` is the daemon in the "
            "foreground, for whatever else keeps it running"
        )


def refuse_program() -> None:
    """The service's user has to be able to run what we are, and root to rely on it. Raises HoldfastError."""
    if any(letter.isspace() or letter in "\"'\\$" for letter in sys.executable):
        raise HoldfastError(f"cannot run {sys.executable} as a service: choose a path without spaces and quotes")
    where = "`python3 -m venv /opt/holdfast && /opt/holdfast/bin/pip install holdfast`"
    if not (_reachable(sys.executable) and _runs_for_nobody()):
        raise HoldfastError(
            f"cannot run {sys.executable} as another user: a directory above it, or Holdfast itself, is closed to "
            f"others; install it where all may read, as with {where}, and give `/opt/holdfast/bin/holdfast install`"
        )
    changeable = next((path for path in _relied_on() if _may_be_changed(path)), None)
    if changeable is not None:
        raise HoldfastError(
            f"cannot have root run {sys.executable}: {changeable} may be changed by others than root; install it as "
            f"root, as with {where}, and give `/opt/holdfast/bin/holdfast install`"
        )


def refuse_account(user: str, home: str) -> None:
    """An account of that name has to be one that we made. Raises HoldfastError."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return
    if not is_ours(user, home):
        raise HoldfastError(
            f"cannot run the service as {user}: there is an account of that name which is not its own (home "
            f"{found.pw_dir}, shell {found.pw_shell}); rename or remove it"
        )
    try:
        own = grp.getgrnam(user).gr_gid
    except KeyError:
        own = None
    if own != found.pw_gid:
        raise HoldfastError(
            f"cannot run the service as {user}: its group is not {user}; `groupadd --system {user}; usermod -g {user} "
            f"{user}` mends that"
        )


def is_ours(user: str, home: str) -> bool:
    """Whether an account is there as we make it, and no person's."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return False
    return found.pw_dir == home and os.path.basename(found.pw_shell) in _CLOSED


def _runs_for_nobody() -> bool:
    argv = [sys.executable, "-P", "-m", "reconciler.cli", "--version"]
    env = {"PATH": os.defpath}
    done = subprocess.run(
        argv, user=_NOBODY, group=_NOBODY, extra_groups=[], cwd="/", env=env, capture_output=True, check=False
    )
    return done.returncode == 0


def _reachable(path: str) -> bool:
    """Whether everybody may pass through all directories above it, links followed."""
    return all(os.stat(above).st_mode & 0o001 for form in (path, os.path.realpath(path)) for above in _above(form))


def _above(path: str) -> Iterator[str]:
    above = os.path.dirname(path)
    while above != "/":
        yield above
        above = os.path.dirname(above)


def _relied_on() -> Iterator[str]:
    """All that root's Python reads to run us: itself, what is above it, and every module that it may import."""
    places = [sys.executable, os.path.dirname(reconciler.__file__), *filter(os.path.exists, sys.path)]
    for place in places:
        yield place
        for form in (place, os.path.realpath(place)):
            yield from _above(form)
    for place in places[1:]:
        for folder, _, names in os.walk(place):
            yield folder
            yield from (os.path.join(folder, name) for name in names)


def _may_be_changed(path: str) -> bool:
    """Whether another than root may write to it, or to what it links to."""
    for status in (os.lstat(path), os.stat(path)) if os.path.exists(path) else (os.lstat(path),):
        group = status.st_mode & 0o020 and status.st_gid != 0
        others = status.st_mode & 0o002 and not status.st_mode & 0o1000
        if status.st_uid != 0 or ((group or others) and not stat.S_ISLNK(status.st_mode)):
            return True
    return False
