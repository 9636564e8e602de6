"""Work of other machines: tasks that the workers of a dask scheduler do (https://distributed.dask.org).

    dask scheduler                                          on one machine; it says its address
    dask worker tcp://10.0.0.1:8786 --nthreads 1            on every machine, once for each task it is to do at a time

All machines share a folder, under the same path: with this project, the files that are read and those that are written. Workers
write under temporary names and rename, so that a file under its own name is whole whichever worker was ended on the way. A task
whose worker is ended is done by another.
"""
import contextlib
import hashlib
import itertools
import logging
import pickle
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data_processing.errors import UserError
from data_processing.files import PROJECT

PATIENCE = 5  # s to wait for the scheduler, and then for a first worker
LOOK_AGAIN = 2  # s between looks at how many workers there are
REMEMBERED = 60  # s for which a network file system may remember that there was no such file
SAME_VERSIONS = ("python", "dask", "distributed", "numpy")  # what arrives must be understood, and values must be equal


def scheduled(address: str, work: Callable, tasks: dict, folder: Path, needs: dict | None = None) -> Iterator[tuple]:
    """Have tasks done by the workers of a scheduler, each worker one at a time.

    Parameters
    ----------
    address : str
        Of the scheduler, such as tcp://10.0.0.1:8786.
    work : function
        Module-level, or a partial of one.
    tasks : dict
        Name -> arguments of `work`, the first ones first.
    folder : Path
        One that is written to; a worker that does not see it is refused. It is made when it does not exist.
    needs : dict, optional
        Name -> names of the tasks that must be done before.

    Yields
    ------
    name
    object
        What `work` returned.

    Raises
    ------
    UserError
        No such scheduler, or it is lost on the way; no workers; a worker with another Python, other packages or other code, that
        runs several tasks at a time or does not see the folder; a task whose workers were ended again and again.
    """
    waiting, running, done = dict(tasks), {}, set()
    needs = needs or {}
    with _connected(address) as client, _token(folder) as token:
        run, code = _runner(), _code()
        try:
            while waiting or running:
                free = _count_workers(client, address) - len(running)
                ready = (name for name in waiting if done.issuperset(needs.get(name, ())))
                for name in list(itertools.islice(ready, max(free, 0))):
                    payload = pickle.dumps((work, waiting.pop(name)))  # opened by the worker alone, once it knows our modules
                    running[client.submit(run, str(PROJECT), code, str(token), payload, pure=False)] = name
                for future in _finished(running):
                    name = running.pop(future)
                    result = _result(future, name, address)
                    done.add(name)
                    yield name, result
        finally:
            with contextlib.suppress(Exception):  # the scheduler may have gone
                client.cancel(list(running))


def wait_until_seen(paths: Iterable[Path]) -> None:
    """Return when files that other machines wrote are seen here, which a network file system may delay.

    Raises
    ------
    UserError
        One of them is not seen after a minute.
    """
    until = time.monotonic() + REMEMBERED
    for path in paths:
        while not Path(path).exists():
            if time.monotonic() > until:
                raise UserError(f"{path} was written by a worker, but is not seen here after {REMEMBERED} s: its folder must be "
                                "one that all machines share.")
            time.sleep(0.5)


# ---------------------------------------------------------------------------------------------------------- connection
@contextlib.contextmanager
def _connected(address):
    """A client of the scheduler, which has workers of the same versions as here."""
    try:
        import distributed
    except ImportError:
        raise UserError("scheduler is given, but the packages dask and distributed are not here: pip install -r "
                        "requirements.txt.") from None
    for name in ("distributed", "distributed.client"):  # what is wrong is told once, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    start = "Start one with `dask scheduler`, which says its address"
    try:
        _greet(address)
        client = distributed.Client(address, timeout=PATIENCE)
    except (OSError, TimeoutError) as error:
        raise UserError(f"scheduler is {address}: no dask scheduler answers there within {PATIENCE} s "
                        f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). {start}.") from None
    except (ValueError, TypeError) as error:  # no address; that of a worker, which knows no such question
        raise UserError(f"scheduler is {address}: not the address of a dask scheduler ({error}). {start}.") from None
    with client:
        client.told_of_no_workers = False
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise UserError(f"scheduler is {address}: it has no workers. Start some with `dask worker {address} --nthreads 1`, "
                            "on any machine.") from None
        other = other_versions(client.get_versions())
        if other:
            raise UserError(f"scheduler is {address}: {'; '.join(other)}. Start scheduler and workers in the same environment "
                            "(requirements.txt).")
        yield client


def _greet(address):
    """Raise where nobody of dask answers: a client would wait for ever for someone else's answer."""
    import asyncio

    from distributed.comm import connect
    from distributed.security import Security

    async def greet():
        answered = connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        await (await asyncio.wait_for(answered, PATIENCE)).close()
    asyncio.run(greet())


def other_versions(found: dict) -> list[str]:
    """Sentences about what has other versions than this process, at most three.

    Parameters
    ----------
    found : dict
        As `distributed.Client.get_versions` gives it.
    """
    here = found["client"]["packages"]
    who = {"the scheduler": found["scheduler"]} | {f"worker {name}": worker for name, worker in found["workers"].items()}
    sentences = [f"{one} has {package} {there['packages'].get(package)}, here is {here[package]}"
                 for one, there in who.items() for package in SAME_VERSIONS
                 if there["packages"].get(package) != here[package] and (package != "numpy" or one != "the scheduler")]
    return sentences[:3]


@contextlib.contextmanager
def _token(folder):
    """A file that a worker can see only if it shares the folder."""
    token = Path(folder).absolute() / f".shared.{uuid.uuid4().hex}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


def _code():
    """Key of the project's modules: workers live on when they are changed."""
    digest = hashlib.sha256()
    for path in sorted(PROJECT.glob("[A-Za-z]*/**/*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# --------------------------------------------------------------------------------------------------------------- tasks
def _runner():
    """What a worker runs. Made inside a function it is sent as it is: where it arrives, our modules cannot be imported yet."""
    def run(project, code, token, payload):
        import pickle
        import sys
        from pathlib import Path

        from distributed import get_worker
        worker = get_worker()
        if worker.state.nthreads > 1:
            return f"worker {worker.address} does {worker.state.nthreads} tasks at a time; start it with --nthreads 1", None
        for path in (project, Path(token).parent, token):
            if not Path(path).exists():
                return (f"worker {worker.address} does not see {path}; this project, the files to read and those to write must "
                        "stand in a folder that all machines share, under the same path"), None
        if worker.__dict__.setdefault("code_of_project", code) != code:
            return f"worker {worker.address} has loaded the scripts as they were before they were changed; start it again", None
        if project not in sys.path:
            sys.path.insert(0, project)
        try:
            work, arguments = pickle.loads(payload)
        except ImportError as error:
            return f"worker {worker.address} cannot import what it needs ({error}); start it in the same environment", None
        return None, work(*arguments)
    return run


def _count_workers(client, address):
    """Number of workers; where there are none any more, a line says so."""
    from distributed import CancelledError
    try:
        count = len(client.nthreads())
    except (OSError, CancelledError):
        raise _lost(address) from None
    if not count and not client.told_of_no_workers:
        print(f"no worker is left at {address}: waiting for one", flush=True)
    client.told_of_no_workers = not count
    return count


def _finished(running):
    """Futures that are done, after a while perhaps none."""
    from distributed import CancelledError, wait
    if not running:
        time.sleep(LOOK_AGAIN)
        return []
    with contextlib.suppress(TimeoutError, CancelledError):  # one that is cancelled is looked at below, with its name
        wait(list(running), timeout=LOOK_AGAIN, return_when="FIRST_COMPLETED")
    return [future for future in running if future.done()]


def _result(future, name, address):
    from distributed import CancelledError, KilledWorker
    try:
        problem, result = future.result()
    except CancelledError:
        raise _lost(address) from None
    except KilledWorker:
        raise UserError(f"scheduler is {address}: the workers that made {name} were ended again and again, perhaps for want of "
                        "memory; start again (what was made is kept), with fewer workers on a machine or with "
                        "--memory-limit 0.") from None
    if problem:
        raise UserError(f"scheduler is {address}: {problem}.")
    return result


def _lost(address):
    return UserError(f"scheduler is {address}: it has ended or cannot be reached any more; start again (what was made is kept).")
