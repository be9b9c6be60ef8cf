"""A registry of one image, as slow as one wishes: what a Docker engine asks of it, and no more."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.dockerd import root_directory

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_PADDING = 1_500_000
_DROP = 256


class Registry:
    """`image` can be pulled from it; until `gate` is set, half of its layer comes drop by drop."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.drop = _DROP
        """Bytes of a drop; 0: nothing comes."""
        self.fault: str | None = None
        """`cut`: its layer ends half way, once; `lie`: its layer is another than its digest says."""
        self.sent: list[int] = []
        """From where on a blob was asked for, each time."""
        self.hung_up = False
        """Whether somebody left before all of it was sent."""
        self.blobs: dict[str, bytes] = {}
        layer = gzip.compress(_padded(root_directory()), compresslevel=1)
        plain = hashlib.sha256(gzip.decompress(layer)).hexdigest()
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}"]},
            }
        ).encode()
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": self._add(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(layer),
                        "digest": self._add(layer),
                    }
                ],
            }
        ).encode()
        self.layer = layer
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def log_message(self, *_: object, **__: object):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                outer.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.image = f"{self.host}/slow:1"

    def _add(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.rpartition("/")[2]
        if request.path == "/v2/":
            _send(request, 200, b"{}", "application/json")
        elif "/manifests/" in request.path and "slow" in request.path:
            _send(request, 200, self.manifest, _MANIFEST)
        elif name in self.blobs:
            data = self.blobs[name]
            layer, begin = data is self.layer, _begin(request)
            request.send_response(206 if begin else 200)
            if begin:
                request.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
                data = data[begin:]
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            self.sent.append(begin)
            request.wfile.write(data[: len(data) // 2])
            request.wfile.flush()
            rest = data[len(data) // 2 :]
            if layer:
                rest = rest[self._trickle(request, rest) :]
            if layer and self.fault == "cut":
                self.fault, request.close_connection = None, True
                return
            request.wfile.write(bytes(len(rest)) if layer and self.fault == "lie" else rest)
        else:
            told = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            _send(request, 404, json.dumps(told).encode(), "application/json")

    def _trickle(self, request: BaseHTTPRequestHandler, data: bytes) -> int:
        """Send it drop by drop until the gate is open; how much was sent."""
        sent = 0
        try:
            while not self.gate.wait(0.02) and sent < len(data):
                sent += request.wfile.write(data[sent : sent + self.drop])
        except OSError:
            self.hung_up = True
        return sent

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def _begin(request: BaseHTTPRequestHandler) -> int:
    """The first byte that is asked for."""
    return int((request.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Docker-Distribution-Api-Version", "registry/2.0")
    if kind == _MANIFEST:
        request.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(body).hexdigest()}")
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _padded(root: bytes) -> bytes:
    """A root directory of a new digest each time, with something in it that does not compress."""
    made = io.BytesIO(root)
    with tarfile.open(fileobj=made, mode="a") as tar:
        entry = tarfile.TarInfo("padding")
        entry.size, entry.mtime = _PADDING, int(time.time())
        seed = str(time.time()).encode()
        blocks = b"".join(hashlib.sha512(seed + str(n).encode()).digest() for n in range(_PADDING // 64 + 1))
        tar.addfile(entry, io.BytesIO(blocks[:_PADDING]))
    return made.getvalue()
