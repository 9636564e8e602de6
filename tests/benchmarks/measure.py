"""What all benchmarks share: interleaved times, peak memory of a fresh process, rows of the table, facts of the machine."""
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("benchmark", "case", "form", "median_s", "low_s", "high_s", "ratio", "peak_mb", "number")
"""low and high: first and third quartile. ratio: reference / this form, above 1 = better. number: what the case names."""


def interleave(ways, rounds, warm_up=1):
    """Run several ways in turn, so that whatever else the machine does hits all of them alike.

    Parameters
    ----------
    ways : dict of str -> function without arguments
    rounds : int
    warm_up : int
        Rounds before them that are not counted.

    Returns
    -------
    dict of str -> list of float
        Seconds of each round.
    """
    seconds = {form: [] for form in ways}
    for _ in range(warm_up + rounds):
        for form, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[form].append(time.perf_counter() - start)
    return {form: times[warm_up:] for form, times in seconds.items()}


def row(benchmark, case, form, **values):
    """A row of the table; what is not given stays empty."""
    return dict.fromkeys(COLUMNS) | {"benchmark": benchmark, "case": case, "form": form} | values


def time_rows(benchmark, case, seconds, reference, peak_mb=None):
    """Rows of times: the median of each form, its quartiles, and its ratio to the form called `reference`.

    Parameters
    ----------
    benchmark, case : str
    seconds : dict of str -> sequence of float
        By form.
    reference : str
        One of the forms.
    peak_mb : dict of str -> float, optional
        By form.

    Returns
    -------
    list of dict
    """
    medians = {form: float(np.median(times)) for form, times in seconds.items()}
    return [row(benchmark, case, form, median_s=medians[form], low_s=float(np.quantile(times, 0.25)),
                high_s=float(np.quantile(times, 0.75)), ratio=medians[reference] / medians[form],
                peak_mb=(peak_mb or {}).get(form)) for form, times in seconds.items()]


def number_rows(benchmark, case, numbers, reference, column="number"):
    """Rows of numbers of which less is better, by form; `column` may be peak_mb."""
    return [row(benchmark, case, form, **{column: number, "ratio": numbers[reference] / number})
            for form, number in numbers.items()]


def peak_mb():
    """Most memory that this process has held so far, MB (1e6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin with what the process that started this one held
        return next(int(line.split()[1]) * 1024 / 1e6 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def fresh_process(module, function, **arguments):
    """Call a function of a benchmark in a process of its own.

    Parameters
    ----------
    module, function : str
    **arguments
        Plain values.

    Returns
    -------
    dict
        What the function returned, a dict of plain values, with the `peak_mb` of its process.
    """
    code = "from tests.benchmarks.measure import answer; answer()"
    done = subprocess.run([sys.executable, "-c", code, module, function, json.dumps(arguments)], cwd=ROOT, text=True,
                          capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{module}.{function}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer():
    """What the process of `fresh_process` does."""
    module, function, arguments = sys.argv[1:]
    result = getattr(importlib.import_module(f"tests.benchmarks.{module}"), function)(**json.loads(arguments))
    print(json.dumps(result | {"peak_mb": peak_mb()}))


def host_facts():
    """Dict of what the times depend on."""
    import torch
    return {"processor": processor(), "cores": os.cpu_count(), "threads of torch": torch.get_num_threads(),
            "bfloat16": "yes" if bfloat16_in_hardware() else "no", "system": f"{platform.system()} {platform.machine()}",
            "compiler": compiler(), "python": platform.python_version(), "torch": torch.__version__,
            "numpy": metadata.version("numpy")}


def processor():
    """Name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else ()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def bfloat16_in_hardware():
    """Whether the processor says that it multiplies in bfloat16 (AVX512-BF16 or AMX); only known on Linux."""
    path = Path("/proc/cpuinfo")
    return path.exists() and any(flag in path.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def compiler():
    """First line of what the C++ compiler says of itself."""
    name = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if name is None:
        return "none"
    return subprocess.run([name, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
