"""Asks an engine for something by its own API, on its port of this machine, and says what it answered instead."""

from reconciler import asking
from reconciler.model.errors import TransientError
from reconciler.model.plan import Launch, Request
from reconciler.model.status import Reason


async def post(launch: Launch, request: Request, reason: Reason) -> None:
    """Have it done within the time of the request. Raises TransientError, with this reason and the engine's words."""
    if launch.port is None:
        raise TransientError(reason, "it has no port")
    question = asking.post(request.path, launch.port, dict(request.body))
    answer = await asking.ask(launch.port, question, request.within)
    if not answer.good and answer.status not in request.also:
        said = f"{launch.engine} said {answer.detail.rstrip('.')}" if answer.status else answer.detail
        raise TransientError(reason, said)
