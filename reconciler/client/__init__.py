"""What faces speak through: a daemon (`daemon.py`), models (`gateway.py`, `chat.py`), another machine (`remote.py`)."""

from reconciler.client.daemon import Client, Stream, connect

__all__ = ["Client", "Stream", "connect"]
