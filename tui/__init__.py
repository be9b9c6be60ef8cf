"""The terminal face of Holdfast: what a person sees of a Status. It reads, and asks; it decides nothing."""
