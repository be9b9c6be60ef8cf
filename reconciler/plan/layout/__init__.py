"""Which replica goes on which cards: by priority, to the byte, moving as little as possible. See `solve`."""

from reconciler.plan.layout.answer import Answer
from reconciler.plan.layout.decide import solve
from reconciler.plan.layout.nouns import Card, Item, Machine, Place, Problem, Seen, Victim

__all__ = ["Answer", "Card", "Item", "Machine", "Place", "Problem", "Seen", "Victim", "solve"]
