"""What is known of a request once it has ended: the one thing that metrics, access log and audit are made of."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Record:
    """One request. Filled while it goes on; times in seconds of CLOCK_MONOTONIC, NaN where it did not come to that."""

    began: float = float("nan")
    """When its head was read."""
    request_id: str = ""
    trace: str = ""
    """Trace id of its `traceparent`, 32 hexadecimal digits."""
    client: str = ""
    """Address of its connection, as `127.0.0.1`."""
    key: str = ""
    """Name of the Access whose key it showed."""
    method: str = ""
    path: str = ""
    """Without its query."""
    asked: str = ""
    """The model name that it gave."""
    model: str = ""
    """The model that answered, or should have."""
    slot: str = ""
    """The instance that answered last."""
    status: int = 0
    """What the client was told; 0: it left before."""
    reason: str = ""
    """Why it failed: the code of a Refusal, `client_left`, `cut` (ended in mid-stream), `upstream_error` (an engine
    said 5xx); empty where it did not."""
    streamed: bool = False
    """Whether the answer came as server-sent events."""
    received: int = 0
    """Bytes of its body."""
    sent: int = 0
    """Bytes of the answer's body."""
    first_byte: float = float("nan")
    """When the first byte of an answer's body was passed on."""
    last_byte: float = float("nan")
    pieces: int = 0
    """Reads that the answer's body came in: of a stream about its tokens."""
    waited: float = 0.0
    """Seconds in which it waited for a model."""
    retries: int = 0
    """Instances that were asked in vain."""
    prompt: int = 0
    """Tokens, as the engine counted them; 0 where it does not."""
    written: int = 0
    ended: float = float("nan")
