"""The nouns of Holdfast: frozen values, no I/O. Read kinds, fleet, observation, plan, in that order."""
