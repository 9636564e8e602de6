"""The one exception for what a user can put right."""
import difflib
from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """A mistake in a file or a setting; the message says what was asked, what was found and what to do."""


def refuse_unknown(setting: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise a UserError where a setting names what is not among the known names."""
    unknown = [name for name in names if name not in known]
    if unknown:
        named = ", ".join(name + did_you_mean(name, known) for name in unknown)
        raise UserError(f"{setting} names {named}; it takes {', '.join(known)}.")


def did_you_mean(word: str, known: Iterable[str], question: str = "did you mean {}?") -> str:
    """Question in brackets after a word, for the known one that it resembles most; empty where it resembles none."""
    return "".join(f" ({question.format(each)})" for each in difflib.get_close_matches(word, list(known), 1))
