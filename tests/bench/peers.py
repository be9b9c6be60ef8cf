"""Peers of the process benchmarks, each in a venv or prefix of its own below bench-out/. What cannot be had is None."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from tests.bench.living import OUT

VENVS = OUT / "venvs"


def venv(name: str, *packages: str, install: bool = True) -> Path | None:
    """The `bin` of a venv that holds these packages; made where `install`, else only found."""
    place = VENVS / name
    done = place / ".installed"
    if not done.exists():
        if not install:
            return None
        VENVS.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
            pip = [str(place / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *packages]
            subprocess.run(pip, check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError):
            return None
        done.touch()
    return place / "bin"


def npm(package: str, program: str, *, install: bool = True) -> Path | None:
    """A program of an npm package, in a prefix of its own."""
    place = OUT / "npm"
    found = place / "node_modules" / ".bin" / program
    if not found.exists() and install and shutil.which("npm"):
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), package]
            subprocess.run(words, check=True, capture_output=True, timeout=120)
    return found if found.exists() else None


@contextlib.contextmanager
def supervisord(binaries: Path, place: Path, programs: dict[str, list[str]]) -> Generator[list[str]]:
    """A supervisord that keeps these programs. Yields its supervisorctl."""
    place.mkdir()
    path = place / "supervisord.conf"
    sections = [
        f"[supervisord]\nnodaemon=true\nlogfile={place}/log\npidfile={place}/pid\nchildlogdir={place}",
        f"[unix_http_server]\nfile={place}/sock",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        f"[supervisorctl]\nserverurl=unix://{place}/sock",
        *(f"[program:{name}]\ncommand={' '.join(words)}\nautorestart=true" for name, words in programs.items()),
    ]
    path.write_text("\n\n".join(sections) + "\n")
    process = subprocess.Popen([binaries / "supervisord", "-c", path], stdout=subprocess.DEVNULL)
    try:
        yield [str(binaries / "supervisorctl"), "-c", str(path)]
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def circus(binaries: Path, place: Path, programs: dict[str, list[str]]) -> Generator[None]:
    """A circusd that keeps these programs."""
    place.mkdir()
    path = place / "circus.ini"
    ends = "\n".join(f"{name} = ipc://{place}/{name}" for name in ("endpoint", "pubsub_endpoint"))
    watchers = [f"[watcher:{name}]\ncmd = {' '.join(words)}" for name, words in programs.items()]
    path.write_text("\n\n".join([f"[circus]\n{ends}\nstatsd = false", *watchers]) + "\n")
    process = subprocess.Popen([binaries / "circusd", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def pm2(program: Path, place: Path, programs: dict[str, list[str]]) -> Generator[None]:
    """A pm2 that keeps these programs."""
    place.mkdir()
    env = {**os.environ, "PM2_HOME": str(place)}

    def ask(*words: str) -> None:
        subprocess.run([program, *words], env=env, check=False, capture_output=True, timeout=60)

    try:
        for name, (first, *rest) in programs.items():
            ask("start", first, "--name", name, "--interpreter", "none", "--", *rest)
        yield
    finally:
        ask("kill")


@contextlib.contextmanager
def watchfiles(binaries: Path, directory: Path, command: list[str]) -> Generator[None]:
    """A script that runs a command, its last word one more each time, whenever a file of a directory changes."""
    script = (
        "import subprocess, sys, watchfiles\n"
        "children = []\n"
        "for number, _ in enumerate(watchfiles.watch(sys.argv[1])):\n"
        "    children.append(subprocess.Popen([*sys.argv[2:], f'peer{number}/0']))\n"
    )
    process = subprocess.Popen(
        [binaries / "python", "-c", script, directory, *command], stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
