"""What instances run under, as a file declares it."""

from typing import Annotated

from pydantic import Field

from reconciler.model.fields import Size, Spec

IMAGE = r"^[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$"
VOLUME = r"^(/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]*):/[^:]*(:(ro|rw))?$"


class Docker(Spec):
    """How a container is made."""

    image: str | None = Field(default=None, pattern=IMAGE, max_length=512)
    """Image it runs in, best pinned by a digest: `name:tag@sha256:…`; the engine's own when not given."""
    shm_size: Size = 4 * 2**30
    """Shared memory it may use at most; engines on several GPUs need some."""
    volumes: Annotated[tuple[Annotated[str, Field(pattern=VOLUME)], ...], Field(strict=False)] = ()
    """What else it sees of this machine: `/path:/path:ro` or `volume-name:/path`; without `:ro` it may write there."""


class InDocker(Spec):
    """`runtime` as a mapping."""

    docker: Docker
    """It runs in a container, made so."""
