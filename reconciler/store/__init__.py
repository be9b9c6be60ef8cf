"""History, for people. The planner never reads it: losing all of it loses no running model."""
