"""What every script does around its main: settings from the command line, errors in one line."""
import os
import sys
from pathlib import Path

from data_processing.errors import UserError

RESUME_RUN = "the same command with --resume goes on from the last checkpoint"
RESUME_FILES = "the same command goes on where it stopped"


def run_script(main, settings_class, resume=RESUME_RUN):
    """Read the settings from the command line and run; a user's mistake ends in one line and exit code 2.

    Started by `torchrun`, a training script runs in several processes (`utils.processes`).

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

    def read_settings():
        settings = tyro.cli(settings_class, description=script.__doc__)
        print("/".join(Path(script.__file__).parts[-2:]), "starts", flush=True)  # before its main imports what takes seconds
        return settings

    try:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            from utils.processes import run_together
            run_together(read_settings, main)
        else:
            main(read_settings())
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\ninterrupted: {resume}", file=sys.stderr)
        sys.exit(130)
