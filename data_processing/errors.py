"""The one exception for what a user can put right."""
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A mistake in a file or a setting; the message says what was asked, what was found and what to do."""


def refuse_unknown(setting: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise a UserError where a setting names what is not among the known names."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"{setting} names {', '.join(unknown)}; it takes {', '.join(known)}.")
