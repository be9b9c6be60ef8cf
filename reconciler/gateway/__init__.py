"""Requests: every model at one address. A process of its own, that reads the Table and reports what clients want."""
