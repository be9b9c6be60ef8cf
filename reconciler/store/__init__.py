"""History for people: events that outlive the daemon. The planner never reads it."""
