"""What every script does around its main: settings from the command line, errors and ends from outside in one line."""
from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from data_processing.errors import UserError
from data_processing.files import NO_ROOM, unlock_folders
from data_processing.terminal import quiet

if TYPE_CHECKING:
    from types import ModuleType

RESUME_RUN = "the same command with --resume goes on from the last checkpoint"
RESUME_FILES = "the same command goes on where it stopped"
ENDINGS = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended"}  # what a script says it was, by Ctrl-C and from outside
LONGEST_END = 10  # s that an end in good order may take; nothing that stands under its own name is half made even without
OTHER_FOLDER = "give another --folder"  # what a second process may do while one works in a folder
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What libraries say, besides MemoryError, where the system gives no more memory
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "can't start new thread", "bad_alloc",
             "memory allocation (malloc) failure", "resource temporarily unavailable", "failed to map segment",
             "could not create a primitive")  # oneDNN, for want of memory for its code
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*python .*")  # a line of a docstring that is not broken
DESCRIPTION = "DESCRIPTION"  # stands for it until all else is laid out
QUIET = "--quiet"
QUIET_HELP = """
--quiet  say nothing but results and what is wrong: for batch jobs"""
SETTINGS_HELP = """
--settings FILE  a run's settings.json (or its folder): make that run again;
                 its files must be the same, its settings are the defaults"""


def run_script(main: Callable, settings_class: type, resume: str = RESUME_RUN) -> None:
    """Read the settings from the command line and run.

    A user's mistake, and what the machine refuses (room, permission, memory), end in one line and exit code 2; Ctrl-C and SIGTERM
    in one that says how to go on, and exit code 130 and 143. Started by `torchrun`, a training script runs in several processes
    (`utils.processes`). With `--settings` it makes a run again from its settings.json (`utils.recreate`).

    Parameters
    ----------
    main : function of one Settings
    settings_class : dataclass
        Its script's docstring is the description in `--help`.
    resume : str
        How an interrupted run goes on.
    """
    script = sys.modules[main.__module__]
    name = "/".join(Path(script.__file__).parts[-2:])
    words, recorded, description = [word for word in sys.argv[1:] if word != QUIET], None, (script.__doc__ or "") + QUIET_HELP
    trains = hasattr(script, "train_and_test")

    def read_settings():
        nonlocal words, recorded, description
        if trains:
            description += SETTINGS_HELP
            path, words = take_settings(words)
            if path is not None:
                from utils.recreate import read_recorded
                recorded = read_recorded(path, name, settings_class)
        import tyro
        defaults = {"default": recorded.settings} if recorded else {}
        if {"-h", "--help"} & set(words):
            print_for_reading(grouped_help(tyro, settings_class, description, script.__file__))
            sys.exit(0)
        written = io.StringIO()
        try:
            with contextlib.redirect_stderr(written):
                settings = tyro.cli(settings_class, args=words, description=description, **defaults)
        except SystemExit:
            from utils.wrong_value import refuse_wrong_value
            refuse_wrong_value(words, settings_class, script.__file__)
            sys.stderr.write(without_none(written.getvalue()))
            raise
        print(name, "starts", flush=True)  # before its main imports what takes seconds
        return settings

    def work(settings):
        if recorded:
            from utils.recreate import check_recorded
            settings = check_recorded(recorded, settings, named_settings(words))
        main(settings)

    try:
        with ends_in_one_line(resume), quiet() if QUIET in sys.argv[1:] else contextlib.nullcontext():
            if "TORCHELASTIC_RUN_ID" in os.environ:
                from utils.processes import run_together
                run_together(read_settings, work)
            else:
                work(read_settings())
    except Exception as error:
        line = fault_line(error, resume)
        if line is None:
            raise
        print(f"error: {as_typed(line, words)}", file=sys.stderr)
        sys.exit(2)
    finally:
        unlock_folders()


def as_typed(message: str, words: list[str]) -> str:
    """A message in which the settings among the words of the command line are named as they were typed: --test-days, not test_days."""
    from utils.wrong_value import given_values

    for option, _ in given_values(words):
        name = option[2:].replace("-", "_")
        named = rf"(?<![\w/.-]){name}(?![\w/])" if "_" in name else rf"^{name}(?= (?:is|names)\b)"  # "cube" is a word as well
        message = re.sub(named, option, message)
    return message


def print_for_reading(text: str) -> None:
    """Print a text whose reader (`| head`) may go before its end, which is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written at the end of the process


def without_none(text: str) -> str:
    """What tyro writes of options, without None: what it stands for is said in words."""
    text = re.sub(r"\s*\(default:\s+None\)", lambda found: "" if "\n" in found[0] else " " * len(found[0]), text)
    return re.sub(r"\{None\}\|(?:\{(\[.*\]|[A-Z ]+)\}|(\S+))", lambda found: (found[1] or found[2]).ljust(len(found[0])),
                  text).replace("{None,", "{")


def wrapped(text: str, columns: int) -> str:
    """A script's docstring in lines of at most some columns; commands and addresses are not broken.

    A paragraph is what begins in one column, in its first line after a label: a word and spaces ("Reads   ") or a colon ("key: ").
    """
    paragraphs: list[tuple[str, list[str]]] = []
    before = None
    for line in text.splitlines():
        found = re.fullmatch(r"( *(?:\S+ {2,}|[\w-]+: )?)(.*)", line)
        label, words = found[1], found[2]
        alone = not words or bool(COMMAND.fullmatch(words))
        if alone or before != len(label) or label.strip():
            paragraphs.append((label, []))
        paragraphs[-1][1].append(words)
        before = None if alone else len(label)
    return "\n".join(label + words[0] if COMMAND.fullmatch(words[0]) else textwrap.fill(
        " ".join(words), columns, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False,
        break_on_hyphens=False) for label, words in paragraphs)


def grouped_help(tyro: ModuleType, settings_class: type, description: str, script: str) -> str:
    """Text of `--help`, with the options in the groups that the comments between the settings of the script (a path) name."""
    written = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(written):
        tyro.cli(settings_class, args=["--help"], description=DESCRIPTION)
    text = without_none(re.sub(r"\s*\(default:\s+\)", "", written.getvalue()))
    firsts = {title: name for name, title in reversed(setting_groups(script).items()) if title}
    groups = {"--" + name.replace("_", "-"): title for title, name in firsts.items()}
    description = wrapped(description.strip(), shutil.get_terminal_size().columns)  # tyro would join some of its lines
    text = text.replace(DESCRIPTION, description, 1)
    lines: list[str] = []
    for line in text.splitlines():
        option, indent = re.match(r"\s+(--[\w-]+)", line), len(line) - len(line.lstrip())
        if option and option[1] in groups:
            lines += ["", f" {groups[option[1]]}"]
        if lines and re.match(r"  (--|\[?[A-Z\[])[^ ]", lines[-1]) and len(lines[-1]) < indent - 1 and "  " not in lines[-1].strip():
            line = lines.pop().ljust(indent) + line.lstrip()  # there is room beside what is shorter without None
        lines.append(line.rstrip())
    return "\n".join(lines)


def setting_groups(script: str | Path) -> dict[str, str]:
    """Group of each setting of a script, in its order: the words that stand alone in a comment above the first of a group."""
    groups, title = {}, ""
    _, _, settings = Path(script).read_text(encoding="utf-8").partition("class Settings:\n")
    for line in settings.splitlines():
        if line[:1].strip():  # what follows the class
            break
        if found := re.fullmatch(r"    # ([a-z ]+)", line):
            title = found[1]
        elif found := re.match(r"    (\w+): ", line):
            groups[found[1]] = title
    return groups


@contextlib.contextmanager
def ends_in_one_line(resume: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end this block by an exception, and the process by a line and exit code 130 or 143.

    Where the exception is lost (Python ignores one that is raised while an object is removed) or waits for something, the process
    ends all the same; and at once when a second signal comes.

    Parameters
    ----------
    resume : str
        How to go on.
    """
    usual = (signal.SIG_DFL, signal.default_int_handler)  # else they are to be ignored, as under nohup, or are someone else's
    before = {number: signal.getsignal(number) for number in ENDINGS if signal.getsignal(number) in usual}
    came, said, ignored = [], [], sys.unraisablehook

    def line(number):
        said.append(True)
        return f"\n{ENDINGS[number]}: {resume}\n"

    def end(number, frame):
        came.append(number)
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        if hasattr(signal, "alarm"):  # not on Windows
            signal.signal(signal.SIGALRM, end_at_once)
            signal.alarm(LONGEST_END)
        raise KeyboardInterrupt

    def end_at_once(*_):
        if not said:
            os.write(2, line(came[0]).encode())
        os._exit(128 + came[0])

    def not_lost(what):
        if came and issubclass(what.exc_type, KeyboardInterrupt):
            end_at_once()
        ignored(what)

    for number in before:
        signal.signal(number, end)
    sys.unraisablehook = not_lost
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if not came and not isinstance(error, KeyboardInterrupt):
            raise
        number = came[0] if came else signal.SIGINT
        sys.stderr.write(line(number))  # the alarm stays set: threads may keep the process
        sys.exit(128 + number)
    finally:
        sys.unraisablehook = ignored
        if not came:
            for number, handler in before.items():
                signal.signal(number, handler)
    if came and hasattr(signal, "alarm"):
        signal.alarm(0)  # it was lost, and the work is done


def fault_line(error: BaseException, resume: str) -> str | None:
    """What to say of an error that the user or the machine is the reason of, one line; None of others, which are ours.

    Parameters
    ----------
    error : Exception
    resume : str
        How to go on.
    """
    if isinstance(error, UserError):
        return str(error)
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in said.lower() for words in NO_MEMORY):
        return (f"not enough memory ({said[:200] or type(error).__name__}). End other programs, or take a machine or a limit "
                f"(ulimit -v, a job's) with more; {resume}.")
    if not isinstance(error, OSError):
        return None
    if error.strerror is None:  # of a library
        return said
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in NO_ROOM:
        limit = "the file-size limit (ulimit -f) is reached" if error.errno == errno.EFBIG else "no room is left on this disk"
        return f"{where}{limit} ({error.strerror}). Make room; {resume}."
    if error.errno in NOT_ALLOWED:
        return f"{where}may not be read or written ({error.strerror}). Change its permissions, or name another file or folder."
    return f"{where}{error.strerror}"


def take_settings(words: list[str]) -> tuple[str | None, list[str]]:
    """The value of `--settings` among the words of a command line (None without), and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings", nargs="?", const="")
    found, others = parser.parse_known_args(words)
    if found.settings == "":
        raise UserError("--settings is given without a file: name the settings.json of a run, or its folder.")
    return found.settings, others


def named_settings(words: list[str]) -> set[str]:
    """Names of the settings that the words of a command line give."""
    names = {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return names | {name.removeprefix("no_") for name in names}
