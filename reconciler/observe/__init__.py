"""Facts in: turns the machine into an Observation. It never changes what it looks at."""
