"""Training in several processes, on one machine or more, started by `torchrun`.

Every process draws the same random numbers and so knows the whole batch that one process alone would learn from; of that
batch it takes its share (`batch_share`). What is summed over a batch is averaged over the processes. Files are written, and
lines printed, by the first process only. Started without torchrun there is one process and nothing here does anything.
"""
import contextlib
import functools
import math
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from data_processing.errors import UserError

PATIENCE = timedelta(days=1)  # of a process that waits: torchrun ends it as soon as another one has failed
AFTER_FIRST = 5.0  # seconds that another process leaves the first to say what is wrong and to end
_alone = False  # whether this process does something that the others do not do with it at this time


def run_together(read_settings: Callable, main: Callable) -> None:
    """Run a training script as one of the processes that torchrun has started.

    Parameters
    ----------
    read_settings : function
        Gives the Settings.
    main : function of one Settings
    """
    with behind_first():
        settings = read_settings()
        start_processes(settings)
        main(settings)
        distributed.destroy_process_group()


def start_processes(settings: Any) -> None:
    """Meet the other processes; where `settings.device` is "cuda" each takes a GPU of its own.

    Raises
    ------
    UserError
        The script trains nothing; there are fewer GPUs than processes.
    """
    if not hasattr(settings, "batch_size"):
        raise UserError("torchrun has started a script that trains no network of its own; start it with python.")
    on_gpu = settings.device.startswith("cuda") and torch.cuda.is_available()  # else it is refused with the other settings
    if on_gpu:
        started, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if settings.device != "cuda" or started > found:
            raise UserError(f"device is {settings.device} and torchrun has started {started} processes on a machine with {found} "
                            "GPUs: give cuda, and a process for each GPU.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)


def is_first() -> bool:
    """Whether this process writes the files: the first does, and the only one."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is None or os.environ["RANK"] == "0"


def all_processes() -> int:
    """Number of processes that torchrun has started; 1 without it."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def count() -> int:
    """Number of processes that do together what is done now."""
    return 1 if _alone else all_processes()


def rank() -> int:
    """Number of this process among them, 0 .. `count()` - 1."""
    return distributed.get_rank() if count() > 1 else 0


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        distributed.barrier()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """What stands in this block is no matter of the other processes: they neither wait nor share."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


@contextlib.contextmanager
def first_before_others() -> Iterator[None]:
    """The first process does what stands in this block, then the others: they find the files that it has made."""
    if not is_first():
        wait()
    with alone():
        yield
    if is_first():
        wait()


def by_first(function: Callable) -> Callable:
    """Decorator of a function that writes files: the first process calls it while the others wait; it returns None."""
    @functools.wraps(function)
    def called(*arguments, **named):
        if is_first():
            with alone():
                function(*arguments, **named)
        wait()
    return called


def from_first(make: Callable[[], Any]) -> Any:
    """What `make()` gives in the first process, in all of them: another machine may not see the newest files yet."""
    if count() == 1:
        return make()
    found = [make() if is_first() else None]
    distributed.broadcast_object_list(found)
    return found[0]


def mean_over_processes(value: Any) -> Any:
    """Mean of a Tensor, or of a number, over the processes; without gradient and the same to the last bit in all of them."""
    if count() == 1:
        return value
    own = torch.as_tensor(value, dtype=None if torch.is_tensor(value) else torch.float64).detach()
    values = [torch.empty_like(own) for _ in range(count())]
    distributed.all_gather(values, own)
    mean = torch.stack(values).mean(0)
    return mean if torch.is_tensor(value) else float(mean)


def batch_share(windows: int, cells: int | None = None) -> tuple[slice, slice]:
    """What this process takes of a batch.

    The windows are divided as far as that goes evenly; what then remains to be divided are the cells.

    Parameters
    ----------
    windows : int
        Number of windows in the batch.
    cells : int, optional
        Number of cells, where each can be learned from by itself.

    Returns
    -------
    slice
        Of the windows; empty where there are more processes than windows, and no cells to divide.
    slice
        Of the cells.
    """
    if cells is None:
        return _part(windows, rank(), count()), slice(None)
    groups = math.gcd(windows, count())
    return _part(windows, rank() % groups, groups), _part(cells, rank() // groups, count() // groups)


def _part(length, number, parts):
    return slice(length * number // parts, length * (number + 1) // parts)


@contextlib.contextmanager
def own_random() -> Iterator[None]:
    """Random numbers in this block, such as those of dropout, are each process' own; outside of it all stay in step."""
    if count() == 1:
        yield
        return
    state = torch.get_rng_state()
    torch.manual_seed(zlib.crc32(state.numpy().tobytes()) + rank())  # from the state: a resumed run draws the same
    yield
    torch.set_rng_state(state)


def shared_network(network: torch.nn.Module) -> torch.nn.Module:
    """The network as all processes train it: gradients are averaged over them; its weights are those of `network`."""
    if count() == 1:
        return network
    shared = DistributedDataParallel(network, gradient_as_bucket_view=True)
    shared.every_day, shared.looks_around = network.every_day, network.looks_around
    return shared


@contextlib.contextmanager
def behind_first() -> Iterator[None]:
    """Say nothing in this block but in the first process; where another one fails, leave the first the time to say why."""
    if is_first():
        yield
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # torchrun ends it: what it waits for may never come
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            yield
        except KeyboardInterrupt:
            sys.exit(130)
        except (Exception, SystemExit) as error:
            if getattr(error, "code", 1):  # not after --help
                time.sleep(AFTER_FIRST)
            raise
