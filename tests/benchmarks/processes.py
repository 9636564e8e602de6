"""A training step of the same batch by one process and by two that torchrun starts on this machine, one core each.

A process prepares its next batch while it computes; left alone on the machine it would do that on the second core.
The ratio of the times is that of the samples per second: our default ConvLSTM, with its own two windows a step and with eight, of
which each process has more to do between two meetings; and the paper's dense head, whose many weights must be summed over the
processes in each step.
"""
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data_processing.files import replacing
from tests.benchmarks.measure import peak_mb, time_rows
from tests.benchmarks.network import FORMS, WARM_UP, random_cube, train_some
from utils.command_line import run_script

STEPS, ROUNDS = 40, 4
CASES = (("our local head", None), ("our local head", 8), ("paper's dense head", None))  # and the windows of a step


@dataclass(frozen=True)
class Settings:
    """What the processes of this benchmark are told."""

    head: str
    cube: str
    steps: int
    answer: str  # file that the first process writes
    batch_size: int | None = None  # windows of a step; None = those of the head
    device: str = "cpu"


def rows(short):
    """Seconds of a step with one and with two processes, and the first one's peak memory, for each head."""
    steps, rounds = (WARM_UP + 2, 1) if short else (WARM_UP + STEPS, ROUNDS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cube = random_cube(Path(folder) / "random.nc", days=240, rows=6, columns=7) if short else "twin"
        for form, batch_size in CASES[:1 if short else None]:
            found = {"1 process": [], "2 processes": []}
            for _ in range(rounds):
                for number, runs in enumerate(found.values(), start=1):
                    runs.append(train_in_processes(number, folder, head=FORMS[form], cube=str(cube), steps=steps,
                                                   batch_size=batch_size))
            seconds = {name: sum((run["step"] for run in runs), []) for name, runs in found.items()}
            peaks = {name: max(run["peak_mb"] for run in runs) for name, runs in found.items()}
            batch = f"{batch_size} windows" if batch_size else "its batch"
            rows += time_rows("processes", f"ConvLSTM, {form}, lead 3: a training step of {batch}", seconds, "1 process", peaks)
    return rows


def train_in_processes(number, folder, **arguments):
    """What `train_some` returns, and `peak_mb`, of the first of some fresh processes."""
    answer = Path(folder) / "answer.json"
    words = [word for name, value in (arguments | {"answer": answer}).items() if value is not None
             for word in (f"--{name.replace('_', '-')}", str(value))]
    launcher = [] if number == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    done = subprocess.run([sys.executable, *launcher, __file__, *words], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(answer.read_text())


def main(settings):
    from utils.processes import is_first
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(os.environ.get("LOCAL_RANK", 0)) % len(cores)]})
    found = train_some(settings.head, settings.cube, settings.steps, settings.batch_size)
    if is_first():
        with replacing(settings.answer) as temporary:
            temporary.write_text(json.dumps(found | {"peak_mb": peak_mb()}))


if __name__ == "__main__":
    run_script(main, Settings)
