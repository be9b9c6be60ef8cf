"""A model as Ollama has it: a manifest and blobs, in a registry or in a store."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KIND = "application/vnd.ollama.image."


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One tag of one model."""

    gguf: bytes
    more: Mapping[str, bytes] = field(
        default_factory=lambda: {"template": b"{{ .Prompt }}", "params": b'{"temperature": 0}'}
    )
    """Other layers, by what they are."""
    name: str = "library/tiny"
    tag: str = "latest"
    config: bytes = b'{"model_format":"gguf"}'

    @property
    def blobs(self) -> dict[str, bytes]:
        """By digest, as the manifest lists them."""
        return {digest_of(data): data for data in (*self.more.values(), self.gguf, self.config)}

    @property
    def manifest(self) -> bytes:
        listed = [{"mediaType": KIND + kind, "digest": digest_of(data), "size": len(data)} for kind, data in self.parts]
        config = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": digest_of(self.config),
            "size": len(self.config),
        }
        return json.dumps({"schemaVersion": 2, "config": config, "layers": listed}).encode()

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        return [*self.more.items(), ("model", self.gguf)]

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def served(self) -> dict[str, bytes]:
        """What a registry answers, by path."""
        base = f"/v2/{self.name}"
        blobs = {f"{base}/blobs/{digest}": data for digest, data in self.blobs.items()}
        return {f"{base}/manifests/{self.tag}": self.manifest, **blobs}

    def keep(self, store: Path, host: str = "registry.ollama.ai") -> Path:
        """Have it in a store, as Ollama has what it pulled; where its GGUF is."""
        manifest = store / "manifests" / host / self.name / self.tag
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_bytes(self.manifest)
        (store / "blobs").mkdir(exist_ok=True)
        for digest, data in self.blobs.items():
            (store / "blobs" / digest.replace(":", "-")).write_bytes(data)
        return store / "blobs" / digest_of(self.gguf).replace(":", "-")
