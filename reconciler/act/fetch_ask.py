"""Questions to a hub, and why there is no answer, in words of what a person can do."""

import email.utils
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from reconciler import web
from reconciler.engines.dialect import hub_parts, scheme
from reconciler.model.status import Reason

_LONGEST = 3600.0
"""Seconds that a server may ask to wait."""
_MEND = 300.0
"""Seconds until it is tried again where a person has to mend something first."""


class FetchError(Exception):
    """Why a fetch ends. The message is for a person."""

    def __init__(self, reason: Reason, detail: str, *, after: float = 0.0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.after = after


class CutError(Exception):
    """A connection that ended too early; what came is kept."""


class Asker:
    """Opens what belongs to one source, with its token where that belongs and nowhere else."""

    def __init__(self, source: str, token: str | None, patience: float) -> None:
        """`patience`: seconds in which something must come."""
        self.source = source
        self._token, self._patience = token, patience
        self._opener = web.opener()
        self.stopped = threading.Event()
        """Another file of the source has failed: there is no use in going on."""
        ends = {"hf": web.hub_endpoint, "modelscope": web.modelscope_endpoint}
        end = ends.get(scheme(source))
        self.home = end() if end is not None else ""

    def open(self, url: str, headers: dict[str, str] | None = None) -> HTTPResponse:
        """The answer, its head read. Raises FetchError, or CutError where trying again may help."""
        asked = {"User-Agent": "holdfast", "Accept-Encoding": "identity", **(headers or {})}
        request = urllib.request.Request(url, headers=asked)  # noqa: S310 - checked in the next line
        if urlsplit(url).scheme not in web.SCHEMES:
            raise FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {url} is no http address")
        if self._token and urlsplit(url).netloc == urlsplit(self.home).netloc:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            answer: Any = self._opener.open(request, timeout=self._patience)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error.code, error.headers.get("Retry-After")) from None
        except web.RefusedError as error:
            raise FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {error}") from None
        except (OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error
            words = getattr(why, "strerror", None) or str(why) or type(error).__name__
            raise CutError(f"{urlsplit(url).netloc}: {words.lower()}") from None
        return answer

    def all(self, url: str, cap: int) -> bytes:
        """A small answer whole. Raises FetchError."""
        try:
            with self.open(url) as answer:
                return answer.read(cap)
        except (CutError, OSError, HTTPException) as error:
            raise self.unreachable(str(error)) from None

    def unreachable(self, why: str) -> FetchError:
        """That the network, or the other side, does not do its part."""
        return FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {why}; it goes on by itself")

    def _refused(self, code: int, retry: str | None) -> FetchError:
        if code in (401, 403):
            return FetchError(Reason.SecretMissing, self._gated(code), after=_MEND)
        if code in (404, 410):
            detail = f"cannot fetch {self.source}: HTTP {code}; check its name, its revision and the file"
            return FetchError(Reason.SourceMissing, detail, after=_MEND)
        after = _seconds(retry)
        wish = f", and asks to wait {after:.0f} s" if after else ""
        return FetchError(
            Reason.FetchFailed, f"cannot fetch {self.source}: the server says HTTP {code}{wish}", after=after
        )

    def _gated(self, code: int) -> str:
        said = f"cannot fetch {self.source}: HTTP {code}"
        if not self.home:
            return f"{said}; the server wants a login, which https: sources cannot give"
        repo, *_ = hub_parts(self.source)
        if self._token:
            return f"{said}: the token that is given may not read it; accept its terms at {self.home}/{repo}"
        name = "HF_TOKEN" if scheme(self.source) == "hf" else "MODELSCOPE_API_TOKEN"
        wish = f"env: {{{name}: {{secret: hf-token}}}} in its file, or cache: {{token: …}} in the Node's"
        return f"{said}: it is gated or private; accept its terms at {self.home}/{repo}, and give a token: {wish}"


def _seconds(retry: str | None) -> float:
    """What a Retry-After says, as far as that is reasonable."""
    if not retry:
        return 0.0
    try:
        wait = float(retry)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(retry).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(wait, 0.0), _LONGEST)
