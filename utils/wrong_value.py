"""What a word of the command line must be: said in one line where it is something else."""
from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from data_processing.errors import UserError, did_you_mean

NUMBERS = {int: "whole number", float: "number"}
YES_OR_NO = ("true", "false", "yes", "no", "1", "0")


def refuse_wrong_value(words: list[str], settings_class: type, script: str) -> None:
    """Raise a UserError for a word without an option, or the first option whose value is of another type than its setting.

    Parameters
    ----------
    words : list of str
        Of the command line.
    settings_class : dataclass
    script : str
        Path of its file: the comments behind the settings say what they are.
    """
    kinds = get_type_hints(settings_class)
    takes_words = any("Positional" in str(kind) for kind in get_type_hints(settings_class, include_extras=True).values())
    if not takes_words and not words[0].startswith("-"):
        instead = f"--cube {words[0]}" if "cube" in kinds else "it; --help says which there are"
        raise UserError(f"{words[0]} stands without the option that it is for: give {instead}.")
    for option, values in given_values(words):
        name = option[2:].replace("-", "_")
        wanted = what_is_wanted(kinds[name], values) if name in kinds else None
        if wanted is not None:
            found = f"is {' '.join(values)}" if values else "is given without a value"
            about = re.search(rf"^    {name}: .*?  # (.*)", Path(script).read_text(encoding="utf-8"), re.M)
            raise UserError(f"{option} {found}; it takes {wanted}.{f' --help says: {about[1]}.' if about else ''}")


def given_values(words: list[str]) -> list[tuple[str, list[str]]]:
    """The options among the words, each with the words that follow it up to the next."""
    given: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            option, _, value = word.partition("=")
            given.append((option.replace("_", "-"), [value] if value else []))
        elif given:
            given[-1][1].append(word)
    return given


def what_is_wanted(kind: Any, values: list[str]) -> str | None:
    """What a setting of this type takes, where the values are something else; None where they will do, or nobody can tell."""
    optional = get_origin(kind) in (Union, types.UnionType)
    if optional:
        if values == ["None"]:  # a default, as settings.json and the scripts write it
            return None
        kind = next(each for each in get_args(kind) if each is not type(None))
    if kind is bool and not optional:
        return "no value (--no- before its name turns it off)" if values and values[0].lower() in YES_OR_NO else None
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal or kind is bool:
        choices = [str(each) for each in parts or (True, False)]
        if values and values[0] in choices:
            return None
        return " or ".join([", ".join(choices[:-1]), choices[-1]]) + (did_you_mean(values[0], choices) if values else "")
    if kind in NUMBERS or kind is str:
        return None if values and is_a(kind, values[0]) else f"a {NUMBERS.get(kind, 'text')}"
    if origin is tuple and parts[0] in NUMBERS:
        count = None if parts[-1] is Ellipsis else len(parts)
        good = len(values) == (count or len(values)) and all(is_a(parts[0], value) for value in values)
        return None if good else f"{count or 'one or more'} {NUMBERS[parts[0]]}s with spaces between"
    if origin is dict and parts[1] in NUMBERS:
        good = len(values) % 2 == 0 and all(is_a(parts[1], value) for value in values[1::2])
        return None if good else f"pairs of a name and a {NUMBERS[parts[1]]} with spaces between"
    return None


def is_a(kind: type, text: str) -> bool:
    """Whether a text can be read as a value of a type."""
    try:
        kind(text)
    except ValueError:
        return False
    return True
