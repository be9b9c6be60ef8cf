"""YAML in: turns fleet.d into a Fleet. It never writes there, and never reads outside it."""
