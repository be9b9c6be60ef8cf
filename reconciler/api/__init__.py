"""The control API on a unix socket: status, preview, events, actions."""
