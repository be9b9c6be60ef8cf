"""What runs in a container: from which image, and what it sees of the machine. Pure."""

import re
from posixpath import dirname

from reconciler.engines.dialect import Dialect, Unfit
from reconciler.model.container import Container, Mount
from reconciler.model.kinds import Engine, Node, Workable
from reconciler.model.plan import Size
from reconciler.model.runtime import Docker, InDocker

CACHE = "/holdfast/cache"
"""Where engines keep what they compile, and what they fetch by themselves."""
CACHE_VOLUME = "holdfast-cache"
_SNAPSHOT = re.compile(r"(/.+/models--[^/]+)/snapshots/.+")
_PART = re.compile(r"-\d{5}-of-\d{5}\.\w+$")


def asked(spec: Workable, template: Engine | None) -> Docker | None:
    """How its container is to be made; None where it runs without one."""
    runtime = spec.runtime
    if isinstance(runtime, InDocker):
        return runtime.docker
    if runtime == "docker" or (runtime == "auto" and template is not None and template.image is not None):
        return Docker()
    return None


def chosen(docker: Docker, template: Engine | None, dialect: Dialect | None, gpus: int | None) -> Docker | Unfit:
    """The same with its image; or why no container can be made of it. `gpus`: 0 for what never takes any."""
    if docker.image is not None:
        return docker
    if template is not None:
        image, why = template.image, f"engine {template.name} has no image"
    elif dialect is not None and dialect.images is not None:
        image, why = dialect.images[0 if gpus == 0 else 1], ""
    else:
        image, why = None, "a service has no image of its own"
    if image is None:
        return Unfit("runtime", f"cannot run in a container: {why}; write runtime: {{docker: {{image: …}}}}")
    return docker.model_copy(update={"image": image})


def environment(contained: bool, node: Node) -> dict[str, str]:
    """The variables that say where engines keep what they fetch by themselves, and in containers what they compile."""
    if contained:
        return {"HF_HOME": f"{CACHE}/huggingface", "XDG_CACHE_HOME": CACHE}
    return {} if node.cache is None else {"HF_HOME": node.cache.path, "LLAMA_CACHE": node.cache.path}


def container(spec: Workable, docker: Docker, dialect: Dialect | None, files: tuple[str, ...], size: Size) -> Container:
    """What its container has, at the place of this size; it sees `files` where they are, and cannot change them."""
    mounts = [_declared(text) for text in docker.volumes]
    mounts += [Mount(source=path, target=path) for path in map(_whole, files) if path.startswith("/")]
    if spec.kind == "Model" and (dialect is None or dialect.compiles):
        mounts.append(Mount(source=CACHE_VOLUME, target=CACHE, writable=True))
    first = {mount.target: mount for mount in reversed(mounts)}
    return Container(
        image=docker.image or "",
        mounts=tuple(first[target] for target in sorted(first)),
        shm=docker.shm_size,
        memory=limit(size),
    )


def limit(size: Size) -> int | None:
    """Bytes of host memory that it may have at most: what its file says."""
    return size.host if size.host_basis == "declared" and size.host else None


def _declared(text: str) -> Mount:
    source, target, *mode = text.split(":")
    return Mount(source=source, target=target, writable=mode != ["ro"])


def _whole(path: str) -> str:
    """What has to be seen with it: of a snapshot the blobs that it leads to, of a file in parts the others."""
    snapshot = _SNAPSHOT.match(path)
    if snapshot is not None:
        return snapshot[1]
    return dirname(path) if _PART.search(path) else path
