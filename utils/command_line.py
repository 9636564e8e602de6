"""What every script does around its main: settings from the command line, errors in one line."""
import argparse
import os
import sys
from pathlib import Path

from data_processing.errors import UserError

RESUME_RUN = "the same command with --resume goes on from the last checkpoint"
RESUME_FILES = "the same command goes on where it stopped"
SETTINGS_HELP = """
With --settings FILE, the settings.json of a run, it is made again: its settings are the defaults of the others, and the files
that it was made from must be the same.
"""


def run_script(main, settings_class, resume=RESUME_RUN):
    """Read the settings from the command line and run; a user's mistake ends in one line and exit code 2.

    Started by `torchrun`, a training script runs in several processes (`utils.processes`). With `--settings` it makes a run
    again from its settings.json (`utils.recreate`).

    Parameters
    ----------
    main : function of one Settings
    settings_class : dataclass
        Its script's docstring is the description in `--help`.
    resume : str
        How an interrupted run goes on: said after Ctrl-C.
    """
    import tyro
    script = sys.modules[main.__module__]
    name = "/".join(Path(script.__file__).parts[-2:])
    words, recorded, description = sys.argv[1:], None, script.__doc__
    trains = hasattr(script, "train_and_test")

    def read_settings():
        nonlocal words, recorded, description
        if trains:
            description += SETTINGS_HELP
            path, words = take_settings(words)
            if path is not None:
                from utils.recreate import read_recorded
                recorded = read_recorded(path, name, settings_class)
        defaults = {"default": recorded.settings} if recorded else {}
        settings = tyro.cli(settings_class, args=words, description=description, **defaults)
        print(name, "starts", flush=True)  # before its main imports what takes seconds
        return settings

    def work(settings):
        if recorded:
            from utils.recreate import check_recorded
            settings = check_recorded(recorded, settings, named_settings(words))
        main(settings)

    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            from utils.processes import run_together
            run_together(read_settings, work)
        else:
            work(read_settings())
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {resume}", file=sys.stderr)
        sys.exit(130)


def take_settings(words):
    """The value of `--settings` among the words of a command line (None without), and the other words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings", nargs="?", const="")
    found, others = parser.parse_known_args(words)
    if found.settings == "":
        raise UserError("--settings is given without a file: name the settings.json of a run, or its folder.")
    return found.settings, others


def named_settings(words):
    """Names of the settings that the words of a command line give."""
    names = {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    return names | {name.removeprefix("no_") for name in names}
