"""A secret in what is made of files: a class of its own beside the language's, whose pydantic takes long to read."""

from reconciler.model.noun import noun


@noun
class Secret:
    """The name of a secret; its value is in no launch, plan, log or event."""

    secret: str
    """As `SecretRef` has it."""
