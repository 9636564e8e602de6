"""The one exception for what a user can put right."""


class UserError(ValueError):
    """A mistake in a file or a setting; the message says what was asked, what was found and what to do."""
