"""Questions to a hub, and why there is no answer, in words of what a person can do."""

import email.utils
import math
import ssl
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from reconciler import web
from reconciler.engines.dialect import hub_parts, scheme
from reconciler.model.quantity import print_size
from reconciler.model.status import Reason

_LONGEST = 3600.0
"""Seconds that a server may ask to wait."""
_ENDS = 4.0
"""A small answer is whole within so many times the patience."""
_MEND = 300.0
"""Seconds until it is tried again where a person has to mend something first."""


class FetchError(Exception):
    """Why a fetch ends. The message is for a person."""

    def __init__(self, reason: Reason, detail: str, *, after: float = 0.0, short: int = 0) -> None:
        """`short`: bytes that there is too little room."""
        super().__init__(detail)
        self.reason = reason
        self.after = after
        self.short = short


class CutError(Exception):
    """A connection that ended too early; what came is kept."""


class PastError(Exception):
    """What was asked to go on with has no bytes from there on."""


class Asker:
    """Opens what belongs to one source, with its token where that belongs and nowhere else."""

    def __init__(self, source: str, token: str | None, patience: float) -> None:
        """`patience`: seconds in which something must come."""
        self.source = source
        self.patience = patience
        self._token = token
        self._opener = web.opener()
        self.stopped = threading.Event()
        """Another file of the source has failed: there is no use in going on."""
        ends = {"hf": web.hub_endpoint, "modelscope": web.modelscope_endpoint}
        end = ends.get(scheme(source))
        self.home = end() if end is not None else ""

    def open(self, url: str, headers: dict[str, str] | None = None) -> HTTPResponse:
        """The answer, its head read. Raises FetchError, PastError, or CutError where trying again may help."""
        if not url.lower().startswith(tuple(f"{scheme}://" for scheme in web.SCHEMES)):
            raise FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {url} is no http address", after=_MEND)
        asked = {"User-Agent": "holdfast", "Accept-Encoding": "identity", **(headers or {})}
        request = urllib.request.Request(url, headers=asked)  # noqa: S310 - checked above
        try:
            web.show(request, self._token, self.home)
            answer: Any = self._opener.open(request, timeout=self.patience)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and "Range" in asked:
                raise PastError from None
            raise self._refused(error.code, error.headers.get("Retry-After")) from None
        except web.RefusedError as error:
            raise FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {error}", after=_MEND) from None
        except (OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error
            words = getattr(why, "strerror", None) or str(why) or type(error).__name__
            told = f"{urlsplit(url).netloc}: {words.lower()}"
            if isinstance(why, ssl.SSLCertVerificationError):  # who is not believed now is not in a few seconds either
                raise self.unreachable(told) from None
            raise CutError(told) from None
        packed = answer.headers.get("Content-Encoding", "identity")
        if packed.lower() != "identity":
            answer.close()
            raise FetchError(
                Reason.FetchFailed, f"cannot fetch {self.source}: the server sends it packed, unasked", after=_MEND
            )
        return answer

    def all(self, url: str, cap: int, headers: dict[str, str] | None = None) -> bytes:
        """A small answer whole, of `cap` bytes at most. Raises FetchError."""
        data, until = bytearray(), time.monotonic() + _ENDS * self.patience
        try:
            with self.open(url, headers) as answer:
                while more := answer.read1(cap + 1 - len(data)):
                    data += more
                    if len(data) > cap:
                        raise self._too_long(urlsplit(url).netloc, cap, answer.headers.get("Content-Length", ""))
                    if time.monotonic() > until:
                        raise self.unreachable(f"{urlsplit(url).netloc} does not come to an end")
            return bytes(data)
        except (CutError, OSError, HTTPException) as error:
            raise self.unreachable(str(error)) from None

    def unreachable(self, why: str) -> FetchError:
        """That the network, or the other side, does not do its part."""
        return FetchError(Reason.FetchFailed, f"cannot fetch {self.source}: {why}; it goes on by itself")

    def _too_long(self, host: str, cap: int, length: str) -> FetchError:
        size = print_size(int(length)) if length.isdecimal() and len(length) < 19 else f"more than {print_size(cap)}"
        detail = f"cannot fetch {self.source}: what {host} says of its files is {size} long, and {print_size(cap)} are"
        return FetchError(Reason.NotSupported, f"{detail} read; give the one file by its https: address", after=_MEND)

    def _refused(self, code: int, retry: str | None) -> FetchError:
        if code in (401, 403):
            return FetchError(Reason.SecretMissing, self._gated(code), after=_MEND)
        if code in (404, 410):
            detail = f"cannot fetch {self.source}: HTTP {code}; check its name, its revision and the file"
            return FetchError(Reason.SourceMissing, detail, after=_MEND)
        if code < 400:
            detail = f"cannot fetch {self.source}: the server redirects in circles, or to no http address"
            return FetchError(Reason.FetchFailed, detail, after=_MEND)
        after = _seconds(retry)
        wish = f", and asks to wait {after:.0f} s" if after else ""
        return FetchError(
            Reason.FetchFailed, f"cannot fetch {self.source}: the server says HTTP {code}{wish}", after=after
        )

    def _gated(self, code: int) -> str:
        said = f"cannot fetch {self.source}: HTTP {code}"
        if scheme(self.source) == "ollama":
            return f"{said}: it is private, or gated; pull it with ollama itself: its store is looked into"
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
    return min(max(wait, 0.0), _LONGEST) if math.isfinite(wait) else 0.0
