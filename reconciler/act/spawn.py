"""Turns a recorded launch into a process of its own session, with nothing inherited but what it is given.

Standard library only. A launch that cannot be run is a CannotRun with a message for a person, never a hang.
"""

from __future__ import annotations

import os
import signal

from reconciler.act import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEPT = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR")
"""All that an engine gets of the daemon's environment, besides LC_*."""
WORSE = 500
"""Added to the score by which the kernel chooses what to kill for memory: engines go before their keepers."""
_DEFAULT = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
"""Signals that an engine gets with their default action. Listed once: it takes longer than to start a process."""
_AGAIN = (11, 12)  # EAGAIN, ENOMEM: there may be room for a process later
_WORDS = {
    2: "no such file",
    8: "it is not a program; does its first line name an interpreter?",
    13: "permission denied; make it executable",
    20: "a part of its path is no directory",
    7: "its arguments and environment are too long",
}


class CannotRun(Exception):  # noqa: N818  the name is the sentence
    """What stands in the way. `again`: whether it may go by itself."""

    def __init__(self, message: str, *, code: int = 126, again: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.again = again


def scrubbed(environ: dict[str, str]) -> dict[str, str]:
    """What of an environment is passed on."""
    return {key: value for key, value in environ.items() if key in KEPT or key.startswith("LC_")}


def environment(launch: dict[str, Any], token: str, secrets: dict[str, str]) -> dict[str, str]:
    """The whole environment of an engine: what is kept, what the launch declares, and what we know it by."""
    result = scrubbed(dict(os.environ))
    result.setdefault("PATH", os.defpath)
    for key, value in launch.get("env", {}).items():
        if not isinstance(value, str):
            value = secrets.get(value["secret"])
            if value is None:
                raise CannotRun(f"cannot set {key}: its secret was not handed over")
        if "\0" in value:
            raise CannotRun(f"cannot set {key}: its value holds a NUL")
        result[key] = value
    result["HOLDFAST_TOKEN"] = token
    result["HOLDFAST_SLOT"] = str(launch["slot"])
    return result


def program(name: str, path: str) -> str:
    """The file that a command's first word means."""
    if "/" in name:
        return name
    for directory in path.split(":"):
        candidate = os.path.join(directory or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise CannotRun(f"cannot run {name}: not found on PATH ({path}); install it, or write its whole path", code=127)


def spawn(argv: list[str], env: dict[str, str], directory: str, out: str) -> int:
    """Start it: own session and group, default signals, /dev/null as input, the FIFO `out` as output. The pid."""
    if not argv or any("\0" in word for word in argv):
        raise CannotRun("cannot run a command that is empty or holds a NUL")
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Opened for reading too: it then has a reader for ever, and no keeper's death is a SIGPIPE for the engine.
        output = os.open(out, os.O_RDWR)
        try:
            _enter(directory)
            mask = os.umask(0o022)
            try:
                pid = _spawn(argv, env, output)
            finally:
                os.umask(mask)
        finally:
            os.close(output)
    finally:
        os.fchdir(here)
        os.close(here)
    _worsen(pid)
    return pid


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise CannotRun(f"cannot run in {directory}: {_why(error)}") from None


def _spawn(argv: list[str], env: dict[str, str], output: int) -> int:
    try:
        return os.posix_spawn(
            program(argv[0], env["PATH"]),
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULT,
        )
    except OSError as error:
        again = error.errno in _AGAIN
        code = 127 if error.errno == 2 else 126
        why = _why(error)
        if error.errno == 2 and os.path.exists(argv[0]):
            why = "the interpreter that its first line names is not there"
        raise CannotRun(f"cannot run {argv[0]}: {why}", code=code, again=again) from None


def _why(error: OSError) -> str:
    return _WORDS.get(error.errno or 0) or (error.strerror or "unknown error").lower()


def _worsen(pid: int) -> None:
    """Have the kernel choose it before us. Not by lending it a score of ours: lowering that again is root's right."""
    try:
        score = int(procfs.read("/proc/self/oom_score_adj") or b"0")
        descriptor = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
    except (OSError, ValueError):
        return  # it is then as likely to be killed as its keeper, which is no reason not to run it
    try:
        os.write(descriptor, b"%d" % min(1000, score + WORSE))
    except OSError:
        return
    finally:
        os.close(descriptor)
