"""Instances and launches to look at."""

from reconciler.engines.dialect import openai
from reconciler.model.observation import Instance, NotReady, Running
from reconciler.model.plan import Launch, Probe


def probe(path: str | None = "/health", *, interval=0.05, timeout=5.0, failures=3, start=60.0, inference=None):
    return Probe(
        path=path,
        interval=interval,
        timeout=timeout,
        failures=failures,
        start=start,
        inference=inference,
        tiny=openai("m", inference) if inference is not None else None,
    )


def launch(slot="m/0", *, run=1, port=None, **more):
    return Launch(
        slot=slot,
        run=run,
        source="fleet.d/m.yaml",
        engine=more.pop("engine", "llamacpp"),
        argv=("true",),
        port=port,
        probe=more.pop("probe", None) or probe(),
        fingerprint=more.pop("fingerprint", "f"),
        live="l",
        settings="{}",
        **more,
    )


def running(slot="m/0", *, pid=1, readiness=None, was_ready=False, since=0.0, **more):
    phase = Running(pid=pid, since=since, readiness=readiness or NotReady(), was_ready=was_ready)
    return Instance(slot=slot, launch=launch(slot, **more), phase=phase)
