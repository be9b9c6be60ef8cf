"""The `systemd` runtime: instances as transient units of the system manager."""
