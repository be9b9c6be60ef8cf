"""What is missing or unsafe on this machine, and the command that mends it."""

import argparse
import contextlib
import json
import os
import shutil
import sqlite3
import stat
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from reconciler.cli.doctor_gpus import TOOLKIT, exposed, gpus
from reconciler.cli.finding import Finding, Level
from reconciler.cli.places import SYSTEM, Places, places
from reconciler.cli.screen import Screen
from reconciler.client import Client
from reconciler.model.container import RuntimeName
from reconciler.model.errors import ApiError
from reconciler.model.fleet import Fleet
from tui.view.clean import line
from tui.view.paint import Style, counted, gib, paint

_STYLES: dict[Level, Style] = {"ok": "good", "warn": "busy", "bad": "bad"}
_OTHERS = {"SGLang": "sglang", "TGI": "text-generation-launcher", "Triton": "tritonserver", "Ollama": "ollama"}
"""Engines that few have: told where they are, not missed where they are not."""
_LEAST_DISK = 2**30
_LEAST_WATCHES = 8192
_LEAST_INSTANCES = 16
_ALONE = "systemctl disable --now ollama, and declare its models: what it pulled is not fetched again"


def doctor(chosen: argparse.Namespace) -> int:
    """Check everything; 1 where something is bad."""
    where, screen = places(chosen, here=True), Screen()
    bad = False
    for finding in examine(where):
        bad = bad or finding.level == "bad"
        mark = paint(f"{finding.level:<4}", _STYLES[finding.level], colour=screen.colour)
        screen.say(f"{mark}  {line(finding.what)}")
        if finding.mend:
            screen.say(f"      {finding.mend}")
    return int(bad)


def examine(where: Places) -> Iterator[Finding]:
    """Every check, in the order in which a person would mend things."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        engines,
        gpus,
        _inotify,
        lambda: state(where.state),
        lambda: secrets("/etc/holdfast" if where.state == SYSTEM[1] else where.state),
        lambda: daemon(where),
        lambda: fleet(where.fleet),
        lambda: gateway(where),
        lambda: containers(where.fleet),
        lambda: units(where.fleet),
    )
    for check in checks:
        yield from check()


def _versions() -> Iterator[Finding]:
    yield Finding("ok", f"python {sys.version.split()[0]}, sqlite {sqlite3.sqlite_version}")
    if sqlite3.sqlite_version_info < (3, 37):
        yield Finding("bad", "sqlite is older than 3.37: the history cannot be kept", "apt install libsqlite3-0")


def engines() -> Iterator[Finding]:
    """The engines on PATH, and the one that is embedded."""
    server = shutil.which("llama-server")
    if server:
        yield Finding("ok", f"llama.cpp: {server}")
    elif find_spec("xllamacpp"):
        yield Finding("ok", "llama.cpp: the embedded one (xllamacpp)")
    else:
        yield Finding("bad", "llama.cpp: neither llama-server on PATH nor xllamacpp", "pip install xllamacpp")
    vllm = shutil.which("vllm")
    if vllm:
        yield Finding("ok", f"vLLM: {vllm}")
    else:
        yield Finding("warn", "vLLM: not on PATH; models with `engine: vllm` cannot start", "pip install vllm")
    for name, program in _OTHERS.items():
        if found := shutil.which(program):
            yield Finding("ok", f"{name}: {found}")
    yield from beside()


def beside(port: int = 11434) -> Iterator[Finding]:
    """An Ollama that somebody else runs: what it loads is a stranger's, and comes whenever it is asked."""
    address = f"http://127.0.0.1:{port}/api"
    try:
        with urllib.request.urlopen(f"{address}/ps", timeout=2.0) as answer:  # noqa: S310 - of this machine
            models = [*json.loads(answer.read(2**20))["models"]]
        held = sum(int(model["size_vram"]) for model in models)
    except (OSError, ValueError, LookupError, TypeError):
        return
    what = f"Ollama: one that is not ours answers on port {port}, with {gib(held)} GiB on GPUs"
    yield Finding("warn", f"{what}; what it loads next may take memory that was planned with", _ALONE)


def _inotify() -> Iterator[Finding]:
    for name, least in (("max_user_watches", _LEAST_WATCHES), ("max_user_instances", _LEAST_INSTANCES)):
        path = f"/proc/sys/fs/inotify/{name}"
        with contextlib.suppress(OSError, ValueError):
            with open(path, encoding="ascii") as file:
                found = int(file.read())
            if found < least:
                mend = f"sysctl fs.inotify.{name}={least * 8}"
                yield Finding("warn", f"inotify: {name} is {found}; edits may be noticed only every few seconds", mend)
                return
    yield Finding("ok", "inotify: limits are wide enough")


def state(path: str) -> Iterator[Finding]:
    """The state directory: ours alone, and with room."""
    there = path
    while not os.path.exists(there):
        there = os.path.dirname(os.path.abspath(there))
    if there == path:
        found = os.stat(path)
        if os.geteuid() not in (0, found.st_uid):  # to root a service's user is no stranger
            yield Finding("bad", f"state {path}: belongs to uid {found.st_uid}", f"chown -R {os.geteuid()} {path}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            yield Finding("bad", f"state {path}: mode {mode:04o} lets others in", f"chmod 0700 {path}")
    if not os.access(there, os.W_OK):
        yield Finding("bad", f"state {path}: cannot be written", "give a directory of yours with --state")
    free = shutil.disk_usage(there).free
    if free < _LEAST_DISK:
        yield Finding("warn", f"state {path}: {gib(free)} GiB of disk left", f"du -xh {there} | sort -h | tail")
    else:
        yield Finding("ok", f"state {path}: {gib(free)} GiB of disk left")


def secrets(directory: str) -> Iterator[Finding]:
    """The secrets: readable by nobody else."""
    path = os.path.join(directory, "secrets")
    if not os.path.isdir(path):
        yield Finding("ok", f"secrets: no directory {path}; names are looked up in the daemon's environment")
        return
    if not os.access(path, os.R_OK):
        yield Finding("ok", f"secrets: {path} is closed to you too")
        return
    loose = [name for name in ("", *sorted(os.listdir(path))) if os.stat(os.path.join(path, name)).st_mode & 0o077]
    for name in loose:
        target = os.path.join(path, name).rstrip("/")
        yield Finding("bad", f"secrets: others may read {target}", f"chmod {'0600' if name else '0700'} {target}")
    if not loose:
        yield Finding("ok", f"secrets: {path} is closed to others")


def daemon(where: Places) -> Iterator[Finding]:
    """The daemon, and whether it is at ease."""
    client = Client(where.socket)
    try:
        info = client.info()
        status = client.status()
    except ApiError as error:
        level: Level = "warn" if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError) else "bad"
        yield Finding(level, f"daemon: {error}", "holdfast up" if level == "warn" else "")
        return
    yield Finding("ok", f"daemon: pid {info.pid}, version {info.version}, fleet {info.root}")
    if status.paused:
        yield Finding("warn", f"daemon: {status.paused}", "holdfast resume")
    for text in status.degraded:
        yield Finding("bad", f"daemon: {text}")
    yield from exposed(status)


def fleet(root: str) -> Iterator[Finding]:
    """The files, and the caches that they name."""
    from reconciler.spec.load import load_once

    found = load_once(root)
    if found.missing is not None:
        yield Finding("bad", f"fleet {root}: {found.missing}", f"mkdir -p {root}, or name another with --fleet")
        return
    for problem in found.problems:
        yield Finding("bad", f"fleet: {problem}", "holdfast validate")
    if not found.problems:
        yield Finding("ok", f"fleet {root}: {counted(len(found.workloads), 'workload')}, all good")
    yield from _caches(found)


def gateway(where: Places) -> Iterator[Finding]:
    """Where clients reach models, and who may."""
    from reconciler.cli import doctor_gateway
    from reconciler.observe import host
    from reconciler.spec.load import load_once

    start = "systemctl start holdfast-gateway" if where.state == SYSTEM[1] else "holdfast up"
    yield from doctor_gateway.gateway(load_once(where.fleet), host.look().name, start)


def containers(root: str) -> Iterator[Finding]:
    """The container engine, where the fleet asks for it."""
    from reconciler.spec.load import load_once

    wanted = [each for each in load_once(root).workloads.values() if each.docker is not None]
    if not wanted:
        return
    from reconciler.act.docker.api import RefusedError, SilentError, info

    try:
        told = info()
    except SilentError as error:
        yield Finding("bad", f"docker: cannot be reached: {error}", error.advice)
        return
    except RefusedError as error:
        yield Finding("bad", f"docker: says: {error}", "journalctl -u docker")
        return
    yield Finding("ok", f"docker: version {told.get('ServerVersion', 'unknown')}")
    if told.get("LiveRestoreEnabled") is False:
        mend = 'put "live-restore": true into /etc/docker/daemon.json, then systemctl reload docker'
        yield Finding("warn", "docker: live-restore is off; a restart of Docker ends every container", mend)
    able = "nvidia" in (told.get("Runtimes") or {}) or told.get("DiscoveredDevices")
    if any(each.needs.gpus or not each.needs.cpu for each in wanted) and not able:
        yield Finding("bad", "docker: it has no way to give GPUs to containers, and models ask for some", TOOLKIT)


def units(root: str) -> Iterator[Finding]:
    """The system manager, where the fleet asks for it or is to have it."""
    import asyncio

    from reconciler import booted
    from reconciler.act.units.door import Broker, RefusedError, SilentError
    from reconciler.spec.load import load_once

    auto: RuntimeName = "systemd" if booted.installed() else "process"
    wanted = [name for name, each in load_once(root).workloads.items() if each.under(auto) == "systemd"]
    if not wanted:
        return
    why = booted.no_units()
    if why:
        yield Finding("bad", f"units: {wanted[0]} cannot have one: {why}", "holdfast install")
    elif not booted.installed():
        yield Finding("ok", "units: the daemon may have them, if it is root")
    else:
        try:
            found = asyncio.run(Broker(booted.SOCKET).ask("list"))
        except (SilentError, RefusedError) as error:
            yield Finding("bad", f"units: {error}", "systemctl restart holdfast-units.socket")
            return
        yield Finding("ok", f"units: holdfast-units answers, and knows {counted(len(found), 'unit')}")


def _caches(found: Fleet) -> Iterator[Finding]:
    for node in found.nodes.values():
        cache = node.cache
        if cache is None or cache.size is None or not os.path.isdir(cache.path):
            continue
        used = _used(cache.path)
        text = f"cache {cache.path}: {gib(used)} of {gib(cache.size)} GiB"
        if used > cache.size:
            yield Finding("warn", text, "holdfast models prune")
        else:
            yield Finding("ok", text)


def _used(path: str) -> int:
    """Bytes on disk beneath a directory; links are not followed, files with several names count once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(directory, name))
                if (found.st_dev, found.st_ino) not in seen:
                    seen.add((found.st_dev, found.st_ino))
                    total += found.st_blocks * 512
    return total
