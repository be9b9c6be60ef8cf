"""What a person sees, as text: pure functions from values of the model to lines, printed by the CLI."""
