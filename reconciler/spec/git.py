"""What git says of the fleet directory: its commit, whether it is being rewritten, whether it was edited.

Reads git's files where it must be quick, asks `git` where only git knows. Never changes anything, takes no lock.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from typing import IO

from reconciler.model.errors import SpecError
from reconciler.model.source import Problem
from reconciler.spec.files import display_name

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_DEADLINE = 10.0
_ARCHIVE_DEADLINE = 60.0
_MOST_ARCHIVED = 256 * 2**20
Mark = tuple[int, int, int, int]
"""Device, inode, size, mtime in ns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A git work tree that holds the fleet directory."""

    directory: str
    """Where HEAD and index of this work tree are."""
    common: str
    """Where refs are shared with other work trees of the repository."""

    def lock(self) -> Mark | None:
        """The mark of index.lock: git is rewriting the work tree."""
        return _mark(os.path.join(self.directory, "index.lock"))

    def index(self) -> Mark | None:
        """The mark of the index: another one, another tree."""
        return _mark(os.path.join(self.directory, "index"))

    def head(self) -> str | None:
        """`refs/heads/main`, or a commit where HEAD is detached."""
        text = _text(os.path.join(self.directory, "HEAD"))
        if text is None:
            return None
        name = text.removeprefix("ref:").strip()
        if text.startswith("ref:"):
            return name if name.startswith("refs/") and ".." not in name and "\0" not in name else None
        return name if _HASH.fullmatch(name) else None

    def commit(self) -> str | None:
        """Full hash of HEAD; None before the first commit, or where it cannot be read."""
        head = self.head()
        if head is None or _HASH.fullmatch(head):
            return head
        for directory in dict.fromkeys((self.directory, self.common)):
            text = _text(os.path.join(directory, head))
            if text is not None and _HASH.fullmatch(text.strip()):
                return text.strip()
        return self._packed(head)

    def watched(self) -> tuple[str, ...]:
        """Directories where something moves when the work tree or HEAD changes."""
        head = self.head()
        refs = os.path.dirname(os.path.join(self.common, head)) if head and head.startswith("refs/") else self.common
        return tuple(dict.fromkeys((self.directory, self.common, refs)))

    def _packed(self, ref: str) -> str | None:
        suffix = f" {ref}".encode()
        try:
            with open(os.path.join(self.common, "packed-refs"), "rb") as file:
                for line in file:
                    if line.rstrip(b"\n").endswith(suffix):
                        commit = line[: -len(suffix) - 1].decode("ascii", "replace")
                        return commit if _HASH.fullmatch(commit) else None
        except OSError:
            pass
        return None


def find(root: str) -> Repository | None:
    """The repository whose work tree holds a directory, if any does."""
    place = os.path.realpath(root)
    while True:
        directory = _directory(os.path.join(place, ".git"))
        if directory is not None:
            common = _text(os.path.join(directory, "commondir"))
            shared = os.path.normpath(os.path.join(directory, common.strip())) if common else directory
            return Repository(directory=directory, common=shared)
        above = os.path.dirname(place)
        if above == place:
            return None
        place = above


def _directory(path: str) -> str | None:
    """`.git` itself, or where a `.git` file of a worktree or submodule points to."""
    if os.path.isfile(path):
        text = _text(path) or ""
        if not text.startswith("gitdir:"):
            return None
        path = os.path.normpath(os.path.join(os.path.dirname(path), text.removeprefix("gitdir:").strip()))
    return path if os.path.isfile(os.path.join(path, "HEAD")) else None


def _mark(path: str) -> Mark | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except (OSError, ValueError):
        return None


def _argv(root: str, *arguments: str) -> list[str]:
    # what a repository's own configuration would have git run is not run
    return ["git", "-C", root, "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=", *arguments]


def _env() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in os.environ}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def _status(root: str) -> list[str]:
    return _argv(
        root, "status", "--porcelain", "-z", "--untracked-files=all", "--", ":(glob)**/*.yaml", ":(glob)**/*.yml"
    )


async def dirty(root: str) -> bool | None:
    """Whether YAML files of a directory differ from HEAD; None where git cannot say within ten seconds."""
    try:
        process = await asyncio.create_subprocess_exec(
            *_status(root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_env(),
        )
    except OSError:
        return None
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _DEADLINE)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return bool(output) if process.returncode == 0 else None


def dirty_now(root: str) -> bool | None:
    """The same, waiting for it."""
    done = _run(_status(root))
    return bool(done.stdout) if done is not None and done.returncode == 0 else None


def _run(argv: list[str]) -> subprocess.CompletedProcess[bytes] | None:
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=_env(), timeout=_DEADLINE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def export(root: str, revision: str, into: str) -> str:
    """Write a fleet directory as it was at a revision into an empty one; nothing where it was not there yet.

    Returns the commit. Raises SpecError that says what to do.
    """
    path = display_name(root)
    if not os.path.isdir(root):
        raise _error(path, "cannot be compared with a revision: it is no directory; name the one that holds the files")
    repository = find(root)
    if repository is None:
        raise _error(path, "cannot be compared with a revision: it is in no git repository; leave out --against")
    done = _run(_argv(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"))
    commit = done.stdout.decode("ascii", "replace").strip() if done is not None else ""
    if not _HASH.fullmatch(commit):
        raise _error(path, _why_not(done, revision, repository))
    there = _run(_argv(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:./"))
    if there is not None and there.returncode != 0:
        return commit
    with tempfile.TemporaryFile() as archive:
        try:
            made = subprocess.run(
                _argv(root, "archive", "--format=tar", commit),
                stdin=subprocess.DEVNULL,
                stdout=archive,
                stderr=subprocess.DEVNULL,
                env=_env(),
                timeout=_ARCHIVE_DEADLINE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            made = None
        if made is None or made.returncode != 0:
            raise _error(path, f"cannot be read at revision {revision!r}: `git archive {commit[:12]}` says why")
        archive.seek(0)
        _unpack(archive, into, path)
    return commit


def _why_not(done: subprocess.CompletedProcess[bytes] | None, revision: str, repository: Repository) -> str:
    """Why git found no such revision, and what to do."""
    if done is None:
        return f"cannot ask git for revision {revision!r}: it is not on PATH, or does not answer; install git"
    owned = re.search(rb"safe\.directory (\S+)", done.stderr)
    if owned is not None:
        return (
            f"cannot ask git for revision {revision!r}: the repository is another user's; "
            f"`git config --global --add safe.directory {os.fsdecode(owned[1])}` trusts it"
        )
    if os.path.isfile(os.path.join(repository.common, "shallow")):
        return (
            f"cannot find revision {revision!r}: this clone is shallow; "
            "`git fetch --unshallow`, or fetch that revision, and try again"
        )
    return f"cannot find revision {revision!r}; `git log` names those that are there, `git fetch` gets others"


def _unpack(archive: IO[bytes], into: str, path: str) -> None:
    total = 0
    links: list[tuple[str, str]] = []
    with tarfile.open(fileobj=archive, mode="r:") as files:
        for member in files:
            parts = member.name.split("/")
            if member.name.startswith("/") or ".." in parts:
                continue
            target = os.path.join(into, *parts)
            if member.issym():
                links.append((target, member.linkname))
            elif member.isfile() and member.name.endswith((".yaml", ".yml")):
                total += member.size
                if total > _MOST_ARCHIVED:
                    raise _error(path, "cannot be read at that revision: too large")
                source = files.extractfile(member)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "xb") as file:
                    file.write(source.read() if source is not None else b"")
    for target, link in links:
        # last, so that nothing is written through them; only there to be found and refused, as in the directory itself
        above = os.path.dirname(target)
        if os.path.realpath(above) == os.path.abspath(above) and not os.path.lexists(target):
            with contextlib.suppress(FileNotFoundError):
                os.symlink(link, target)


def _error(path: str, message: str) -> SpecError:
    return SpecError((Problem(path=path, message=message),))
