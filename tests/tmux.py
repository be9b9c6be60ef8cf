"""A program in a real terminal: tmux draws it, and says what can be seen."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.eventually import eventually

_SETTINGS = "set -g remain-on-exit on\nset -g remain-on-exit-format ''\nset -g escape-time 0\nset -g status off\n"


class Terminal:
    """From when it is made to `close`."""

    def __init__(
        self, place: Path, argv: Sequence[str], *, env: Mapping[str, str], size: tuple[int, int] = (80, 24)
    ) -> None:
        """`place`: a directory for its files; `size`: columns and lines."""
        place.mkdir(parents=True, exist_ok=True)
        (place / "tmux.conf").write_text(_SETTINGS)
        self._tmux = ["tmux", "-f", str(place / "tmux.conf"), "-S", os.path.relpath(place / "tmux")]
        self._env = {**env, "SHELL": "/bin/sh", "LC_ALL": "C.UTF-8"}
        self._status = place / "status"
        # tmux itself may miss that a program ended
        line = f"trap : INT; {shlex.join(argv)}; echo $? >{shlex.quote(str(self._status))}"
        self._do("-u", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), line)

    def _do(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def text(self) -> str:
        """What can be seen."""
        return self._do("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Keys, as tmux calls them: `Enter`, `Escape`, `C-p`, or what they write."""
        self._do("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Another size."""
        self._do("resize-window", "-x", str(columns), "-y", str(lines))

    def until(self, *texts: str, gone: Sequence[str] = (), within: float = 60.0) -> str:
        """What can be seen once all of these can, and none that is `gone`."""
        seen = ""

        def look() -> bool:
            nonlocal seen
            seen = self.text
            return all(each in seen for each in texts) and not any(each in seen for each in gone)

        try:
            eventually(look, within=within)
        except AssertionError:
            raise AssertionError(f"{texts} without {gone} is not to be seen:\n{seen}") from None
        return seen

    @property
    def status(self) -> int | None:
        """How the program ended; None while it has not."""
        said = self._status.read_text() if self._status.exists() else ""
        return int(said) if said.endswith("\n") else None

    def ended(self, status: int) -> None:
        """Wait for its end, and see that it ended so."""
        eventually(lambda: self.status is not None, what=f"it ends; it shows:\n{self.text}")
        assert self.status == status, self.text

    def close(self) -> None:
        """End all of it."""
        subprocess.run([*self._tmux, "kill-server"], env=self._env, capture_output=True, timeout=60, check=False)
