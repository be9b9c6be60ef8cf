"""Decisions: turns a fleet and an observation into a Plan. Pure: it reads nothing, logs nothing, raises nothing."""
