"""The control API: status, plans, events, logs and requests, on a unix socket that only its owner can open."""
