"""What a keeper wrote down of a run → the phase that the planner knows."""

from reconciler.act import runfile
from reconciler.act.runfile import Run
from reconciler.model.observation import Exited, NotReady, Phase, Ready, Recorded, Running, Stopping, Unknown
from reconciler.model.plan import Launch
from reconciler.model.status import Reason


def phase_of(launch: Launch, run: Run) -> Phase:
    """The phase of the recorded launch."""
    if run.run < launch.run and not run.active:
        return Recorded()
    match run.phase:
        case runfile.RUNNING:
            return Running(
                pid=run.pid or 0,
                since=run.began,
                readiness=NotReady() if run.ready_since is None else Ready(since=run.ready_since),
                was_ready=run.ready_since is not None or run.ready_before is not None,
            )
        case runfile.STOPPING:
            return Stopping(pid=run.pid or 0, since=run.stopped or run.began, asked=_reason(run.asked))
        case runfile.EXITED:
            return Exited(
                at=run.ended or 0.0,
                began=run.began if run.asked != Reason.Lost.value else None,  # it may be of an earlier boot's clock
                code=run.code,
                signal=run.signal,
                oom=run.oom,
                asked=None if run.asked is None else _reason(run.asked),
                ready_for=run.ready_before,
                detail=run.detail,
            )
        case _:
            return Unknown(reason="it is being started")


def lost(now: float) -> Exited:
    """The phase of a run that went down with the machine: no failure of its own."""
    return Exited(at=now, asked=Reason.Lost, detail="the machine was restarted")


def _reason(text: str | None) -> Reason:
    try:
        return Reason(text or "")
    except ValueError:
        return Reason.Lost  # a word of another version's
