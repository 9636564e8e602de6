"""What every script does around its main: settings from the command line, errors and ends from outside in one line."""
import contextlib
import errno
import os
import signal
import sys
from pathlib import Path

from data_processing.errors import UserError
from data_processing.files import NO_ROOM, unlock_folders

RESUME_RUN = "the same command with --resume goes on from the last checkpoint"
RESUME_FILES = "the same command goes on where it stopped"
OTHER_FOLDER = "give another --folder"  # what a second process may do while one works in a folder
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
# What libraries say, besides MemoryError, where the system gives no more memory
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "can't start new thread", "bad_alloc",
             "memory allocation (malloc) failure", "resource temporarily unavailable", "failed to map segment",
             "could not create a primitive")  # oneDNN, for want of memory for its code


class EndedFromOutside(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, from the system, a scheduler or another user."""


def run_script(main, settings_class, resume=RESUME_RUN):
    """Read the settings from the command line and run.

    A user's mistake, and what the machine refuses (room, permission, memory), end in one line and exit code 2; Ctrl-C and SIGTERM
    in one that says how to go on, and exit code 130 and 143. Started by `torchrun`, a training script runs in several processes
    (`utils.processes`).

    Parameters
    ----------
    main : function of one Settings
    settings_class : dataclass
        Its script's docstring is the description in `--help`.
    resume : str
        How an interrupted run goes on.
    """
    script = sys.modules[main.__module__]

    def read_settings():
        import tyro
        settings = tyro.cli(settings_class, description=script.__doc__)
        print("/".join(Path(script.__file__).parts[-2:]), "starts", flush=True)  # before its main imports what takes seconds
        return settings

    try:
        with signals_raise():
            if "TORCHELASTIC_RUN_ID" in os.environ:
                from utils.processes import run_together
                run_together(read_settings, main)
            else:
                main(read_settings())
    except KeyboardInterrupt as end:
        from_outside = isinstance(end, EndedFromOutside)
        print(f"\n{'ended' if from_outside else 'interrupted'}: {resume}", file=sys.stderr)
        sys.exit(143 if from_outside else 130)
    except Exception as error:
        line = fault_line(error, resume)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        unlock_folders()


@contextlib.contextmanager
def signals_raise():
    """Ctrl-C and SIGTERM end this block by an exception, so that nothing is left half made; a second one ends the process."""
    raised = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: EndedFromOutside}
    usual = (signal.SIG_DFL, signal.default_int_handler)  # else they are to be ignored, as under nohup, or are someone else's
    before = {number: signal.getsignal(number) for number in raised if signal.getsignal(number) in usual}

    def end(number, frame):
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise raised[number]

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fault_line(error, resume):
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
