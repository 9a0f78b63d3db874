"""The screens and dialogs, and what they share."""
