"""Where the bytes of a source go in a cache, and how they are shown to engines: the same for whoever brings them."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import dirname, join, relpath

from reconciler import shelf
from reconciler.engines import registry
from reconciler.engines.dialect import hub_parts, scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelving:
    """One source at one revision."""

    place: shelf.Place
    source: str
    revision: str
    """A commit, or what a hub has instead; empty for what is of no hub."""

    @property
    def directory(self) -> str:
        """Where it is written down what of it is here."""
        return shelf.directory(self.place, self.source)

    @property
    def repository(self) -> str:
        """Where all revisions of it lie."""
        kind, (repo, *_) = scheme(self.source), hub_parts(self.source)
        if kind == "hf":
            return join(self.place.hub, f"models--{repo.replace('/', '--')}")
        return join(self.place.ours, f"{kind}--{repo.replace('/', '--')}")

    def target(self, path: str, digest: str) -> str:
        """Where a file's bytes go: by digest where that is known, so that what two revisions share lies there once."""
        if scheme(self.source) == "ollama":
            return self.shown(path)
        kind, _, value = digest.partition(":")
        return join(self.repository, "blobs", value) if self.revision and kind else self.shown(path)

    def shown(self, path: str) -> str:
        """Where an engine finds it."""
        if scheme(self.source) == "ollama":
            name = registry.name_of(self.source) if path == shelf.MANIFEST else None
            return join(self.place.ollama, name.manifests[1] if name is not None else path)
        if not self.revision:
            return join(self.directory, "tree", path)
        return join(self.repository, "snapshots", self.revision, path)

    def claim(self, targets: Mapping[str, str]) -> None:
        """Say of files, by their names, that we bring them: before the first byte of them."""
        shelf.claim(self.place, self.directory, {*targets.values(), *map(self.shown, targets)})

    def publish(self, targets: Mapping[str, str], digests: Mapping[str, str]) -> None:
        """Show files that were checked where engines look for them, and write down that all is here."""
        for path, target in targets.items():
            shown = self.shown(path)
            if shown != target:
                os.makedirs(dirname(shown), exist_ok=True)
                _link(relpath(target, dirname(shown)), shown)
        self._name()
        files = tuple(
            shelf.File(path=path, at=(at := self.shown(path)), size=os.stat(at).st_size, digest=digests[path])
            for path in targets
        )
        one = not self.revision or scheme(self.source) == "ollama" or hub_parts(self.source)[2] is not None
        path = files[0].at if one else join(self.repository, "snapshots", self.revision)
        whole = shelf.Whole(source=self.source, path=path, revision=self.revision, files=files)
        shelf.write_whole(self.directory, whole)

    def _name(self) -> None:
        """Write down for Hugging Face's tools which commit a name stands for."""
        named = hub_parts(self.source)[1] or "main"
        if scheme(self.source) == "hf" and named != self.revision:
            refs = join(self.repository, "refs", named)
            os.makedirs(dirname(refs), exist_ok=True)
            with open(refs, "w", encoding="ascii") as file:
                file.write(self.revision)


def _link(to: str, path: str) -> None:
    """A link, put in place at once. Another process may be about the same, for another source of the same file."""
    fresh = f"{path}.new"
    while os.path.isdir(dirname(path)) and not (os.path.islink(path) and os.readlink(path) == to):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.symlink(to, fresh)
            os.replace(fresh, path)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)
