"""The `docker` runtime: instances as containers of the Docker engine, or of Podman by the same socket."""
