"""The values behind `{secret: name}`. They go from here to an engine's environment and nowhere else.

No value is ever part of a message, a log, a repr or an argument vector.
"""

import os
import stat
from collections.abc import Callable, Mapping

from reconciler.model.errors import TerminalError
from reconciler.model.status import Reason

_LARGEST = 32 * 1024


def resolver(state: str, environ: Mapping[str, str] = os.environ) -> Callable[[str], str]:
    """A function that has the value of a secret by name. It raises TerminalError, with where to put it.

    Looked for as a systemd credential, as a file in `<state>/secrets`, as an environment variable of the daemon.
    """

    def value(name: str) -> str:
        if "/" in name or name.startswith("."):
            raise _missing(f"cannot use secret {name!r}: it is no name of a file")
        directory = os.path.join(state, "secrets")
        credentials = environ.get("CREDENTIALS_DIRECTORY")
        found = None
        if credentials:
            # systemd names what it loads from a directory so
            found = _read(credentials, name) or _read(credentials, f"secret_{name}")
        if found is None and os.path.isdir(directory):
            _check(directory)
            found = _read(directory, name)
        variable = name.upper().replace("-", "_").replace(".", "_")
        if found is None:
            found = environ.get(name, environ.get(variable))
        if found is None:
            raise _missing(
                f"cannot find secret {name}: write it to {directory}/{name} (directory of mode 0700), "
                f"or give the daemon a systemd credential {name} or a variable {variable}"
            )
        if "\0" in found:
            raise _missing(f"cannot use secret {name}: it holds a NUL")
        return found

    return value


def _read(directory: str, name: str) -> str | None:
    """A file's text without the end of its last line; None where there is none."""
    path = os.path.join(directory, name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _missing(f"cannot read {path}: {(error.strerror or 'error').lower()}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise _missing(f"cannot use {path}: it is no regular file of at most {_LARGEST // 1024} KiB")
        data = os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _missing(f"cannot use {path}: it is not text") from None


def _check(directory: str) -> None:
    """Only a directory that nobody else can look into holds secrets."""
    status = os.stat(directory)
    if status.st_uid != os.geteuid():
        raise _missing(f"cannot use {directory}: it belongs to another user; chown it to yours")
    if status.st_mode & 0o077:
        raise _missing(f"cannot use {directory}: others can look into it; chmod 700 {directory}")


def _missing(message: str) -> TerminalError:
    return TerminalError(Reason.SecretMissing, message)
