"""How the web is asked for files: redirects to http and https only, tokens to nobody else, proxies by environment."""

import os
import re
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from reconciler.engines import registry

SCHEMES = ("http", "https")
_TOKEN = re.compile(r"[!-~]+")


class RefusedError(Exception):
    """Where a request is not sent, and why."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https only, never from https to http, and takes no token to another host."""

    max_redirections = 5

    def redirect_request(  # noqa: PLR0917 - as urllib calls it
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the place that an answer names. Raises RefusedError."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in SCHEMES or (before.scheme, after.scheme) == ("https", "http"):
            raise RefusedError(f"it redirects from {before.scheme} to {after.scheme or 'nowhere'}")
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and before.netloc != after.netloc:
            made.remove_header("Authorization")
        return made


def opener() -> urllib.request.OpenerDirector:
    """What opens requests; proxies are those of HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""
    return urllib.request.build_opener(Redirects())


def show(request: urllib.request.Request, token: str | None, endpoint: str) -> None:
    """Give a request the token, where it goes to whom that belongs. Raises RefusedError."""
    if not token or urlsplit(request.full_url).netloc != urlsplit(endpoint).netloc:
        return
    if not _TOKEN.fullmatch(token):  # http.client would say it whole, in the message of its error
        raise RefusedError("its token holds what no token does: a space or a line end")
    request.add_header("Authorization", f"Bearer {token}")


def hub_endpoint() -> str:
    """Where `hf:` sources are: Hugging Face, or the mirror of HF_ENDPOINT."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def modelscope_endpoint() -> str:
    """Where `modelscope:` sources are."""
    return (os.environ.get("MODELSCOPE_ENDPOINT") or "https://modelscope.cn").rstrip("/")


def ollama_registry(host: str = registry.HOST) -> str:
    """Where models of this registry are: in itself, of Ollama's own instead in the mirror of OLLAMA_REGISTRY."""
    mirror = os.environ.get("OLLAMA_REGISTRY") if host == registry.HOST else None
    return (mirror or f"https://{host}").rstrip("/")


def model_address(name: registry.Name) -> str:
    """What the addresses of its manifest and its blobs begin with."""
    return f"{ollama_registry(name.host)}/v2/{name.namespace}/{name.model}"
