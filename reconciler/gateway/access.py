"""Who asks: from the key that a request shows to the Grant behind it. Nobody is known by an address or a header."""

import hmac
import re
import time
from collections.abc import Callable, Iterable

from reconciler.gateway.key import digest
from reconciler.gateway.refusal import Refusal
from reconciler.model.routing import Grant, Role

LONGEST = 512
"""Bytes of a key that is looked at; one of another maker may be declared by its hash too."""
NO_KEY = Refusal(
    status=401,
    code="missing_api_key",
    message="cannot answer without a key; send it as `Authorization: Bearer KEY` or as `x-api-key: KEY`",
)
UNKNOWN = Refusal(
    status=401,
    code="invalid_api_key",
    message="cannot find that key; compare it with the one you were given, or ask for a new one",
)


class Keys:
    """The grants of one table, by their keys."""

    __slots__ = ("_by_digest", "_shown", "open")

    def __init__(self, grants: Iterable[Grant]) -> None:
        """Of two grants with one key the first counts."""
        self._by_digest: dict[bytes, tuple[bytes, float | None, Grant]] = {}
        self._shown: dict[str, Callable[[str], object] | None] = {}
        self.open = True
        """Nobody is asked for a key: there is no grant."""
        for grant in grants:
            self.open = False
            self._shown[grant.name] = matching(grant.models)
            for key in grant.keys:
                known = bytes.fromhex(key.sha256)
                self._by_digest.setdefault(known, (known, key.expires, grant))

    def find(self, shown: bytes | None, now: float) -> Grant | Refusal:
        """Whose key it is, at `now` in seconds since the epoch. A key that is refused costs what a good one does."""
        if not shown:
            return NO_KEY
        found = digest(shown[:LONGEST])
        known, expires, grant = self._by_digest.get(found, _NOBODY)
        # which digest it is compared with tells nothing of it: to come near another's means to break SHA-256
        if not hmac.compare_digest(found, known) or grant is None or len(shown) > LONGEST:
            return UNKNOWN
        if expires is not None and now >= expires:
            return _expired(expires)
        return grant

    def allows(self, grant: Grant, model: str) -> bool:
        """Whether one of its patterns is the name, which a client gave and a model has: alias and adapter too."""
        match = self._shown[grant.name]
        return match is None or match(model) is not None


def matching(models: tuple[str, ...]) -> Callable[[str], object] | None:
    """What tells whether a name is one of these patterns, by anything but None; None itself where all are."""
    if "*" in models:
        return None
    patterns = (".*".join(map(re.escape, pattern.split("*"))) for pattern in models)
    return re.compile("|".join(patterns) if models else r"(?!)", re.DOTALL).fullmatch


def barred(grant: Grant, role: Role) -> Refusal | None:
    """Why it may not do what takes this role; None where it may. `admin` may all."""
    if role in grant.roles or "admin" in grant.roles:
        return None
    return Refusal(
        status=403,
        code="role_required",
        message=f"cannot do this with a key of {grant.name}: it lacks the role {role}; ask for it, or use another key",
    )


_NOBODY: tuple[bytes, float | None, Grant | None] = (bytes(32), None, None)


def _expired(expires: float) -> Refusal:
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(expires))
    return Refusal(
        status=401,
        code="expired_api_key",
        message=f"cannot use that key: it expired on {day} UTC; ask for a new one",
    )
