"""Random damage to good files of every kind, for as long as one likes: every reader must end in plausible values or in one line.

`hypothesis` draws a family of `bad_input` and a few edits of its file: bytes flipped, overwritten, cut out or put in; attributes,
names, types, shapes and numbers inside HDF5; entries of a model.pt. Each fault that is found is printed once, with its edits.

    python tests/fuzz_readers.py --minutes 20
"""
import argparse
import collections
import contextlib
import io
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from bad_input import FAMILIES

import utils.quicklook
from data_processing.cube import QUANTITIES
from data_processing.errors import UserError
from data_processing.files import unlock_folders

EXAMPLES = 400  # of a child process: one that dies of a library takes no more than these along
LONGEST_CHILD = 300  # s
HDF5 = ("cube", "granules", "flat granules", "granules in degrees", "ERA5", "weather file", "packed weather file", "forecast NetCDF",
        "regions")
LIMITS = QUANTITIES | {"air_temperature": QUANTITIES["soil_temperature"]}

# ---------------------------------------------------------------------------------------------------------------- edits
places = st.floats(0, 1, exclude_max=True)
texts = st.one_of(st.text(max_size=8), st.sampled_from(["K", "m", "mm d-1", "m3 m-3", "days since 2015-01-01", "hours since 1900-01-01",
                                                        "degrees_north", "degrees_east", "time", "latitude", "soil_temperature", "noleap"]))
numbers = st.one_of(st.sampled_from([0, 1, -1, math.nan, math.inf, -math.inf, 1e30, -9999.0, 2**31, 2**62, 1e-300, 360.0, 90.0]),
                    st.floats(), st.integers(-2**40, 2**40))
values = st.one_of(texts, numbers, st.binary(max_size=6), st.lists(numbers, max_size=3))
kinds = st.sampled_from(["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u4", ">f4", ">i8", "S3", "c8", "?"])
shapes = st.lists(st.integers(0, 9), max_size=4)
byte_edits = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)), st.tuples(st.just("overwrite"), places, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("cut out"), places, st.integers(1, 64)), st.tuples(st.just("put in"), places, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("truncate"), places, st.none()))
hdf5_edits = st.one_of(
    st.tuples(st.just("attribute"), places, places, values), st.tuples(st.just("no attribute"), places, places),
    st.tuples(st.just("new attribute"), places, st.sampled_from(["scale_factor", "add_offset", "_FillValue", "missing_value", "units",
                                                                "standard_name", "axis", "calendar", "coordinates", "bounds"]), values),
    st.tuples(st.just("name"), places, st.one_of(texts, st.sampled_from(["time", "lat", "lon", "tp", "x", "y", "expver", "number"]))),
    st.tuples(st.just("gone"), places), st.tuples(st.just("exchange"), places, places), st.tuples(st.just("kind"), places, kinds),
    st.tuples(st.just("shape"), places, shapes), st.tuples(st.just("number"), places, places, numbers),
    st.tuples(st.just("all numbers"), places, numbers), st.tuples(st.just("order"), places, st.integers(0, 5)))
model_edits = st.tuples(st.just("entry"), st.lists(places, min_size=1, max_size=2),
                        st.one_of(values, st.none(), st.just("gone"), st.just("half"), st.just("spoilt")))


def edit_bytes(path, edit):
    what, place, how = edit
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    if what == "flip" and content:
        content[at] ^= 1 << how
    elif what == "overwrite":
        content[at:at + len(how)] = how
    elif what == "cut out":
        del content[at:at + how]
    elif what == "put in":
        content[at:at] = how
    elif what == "truncate":
        del content[at:]
    path.write_bytes(content)


def edit_hdf5(path, edit):
    """Apply an edit where it can be; many are no edit of this file."""
    what, place, *how = edit
    expected = OSError, ValueError, TypeError, KeyError, RuntimeError, OverflowError, IndexError
    with contextlib.suppress(*expected), h5py.File(path, "a") as file:
        names = []
        file.visit(names.append)
        if not names:
            return
        name = names[int(place * len(names))]
        item = file[name]
        if what in ("attribute", "no attribute"):
            keys = list(item.attrs)
            key = keys[int(how[0] * len(keys))]
            del item.attrs[key]
            if what == "attribute":
                item.attrs[key] = how[1]
        elif what == "new attribute":
            item.attrs[how[0]] = how[1]
        elif what == "name":
            file.move(name, how[0])
        elif what == "gone":
            del file[name]
        elif what == "exchange":
            other = names[int(how[0] * len(names))]
            file.move(name, "between")
            file.move(other, name)
            file.move("between", other)
        elif isinstance(item, h5py.Dataset):
            change_dataset(file, name, what, how)


def change_dataset(file, name, what, how):
    item = file[name]
    if what == "number":
        flat = item[...].ravel()
        flat[int(how[0] * flat.size)] = how[1]
        item[...] = flat.reshape(item.shape)
        return
    if what == "all numbers":
        item[...] = how[0]
        return
    content, attributes = item[...], dict(item.attrs)
    if what == "kind":
        made = content.astype(how[0])
    elif what == "shape":
        made = np.resize(content, how[0])
    else:
        made = np.roll(content, how[0]) if how[0] % 2 else content[::-1]
    del file[name]
    made = file.create_dataset(name, data=made)
    for key, value in attributes.items():
        if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
            made.attrs[key] = value


def edit_model(path, edit):
    _, way, how = edit
    model = torch.load(path, weights_only=True)
    held = model
    for number, place in enumerate(way):
        keys = list(held)
        key = keys[int(place * len(keys))]
        if number == len(way) - 1 or not isinstance(held[key], dict) or not held[key]:
            break
        held = held[key]
    if how == "gone":
        del held[key]
    elif how in ("half", "spoilt") and isinstance(held[key], torch.Tensor):
        held[key] = held[key].flatten()[::2] if how == "half" else held[key] * math.nan
    else:
        held[key] = how
    torch.save(model, path)


# ------------------------------------------------------------------------------------------------------------- property
@st.composite
def damage(draw):
    """A family and edits of its file."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    choices = [byte_edits] + ([hdf5_edits] * 3 if family in HDF5 else [model_edits] * 3 if family == "model" else [])
    return family, draw(st.lists(st.one_of(*choices), min_size=1, max_size=4))


def apply(path, edits):
    for edit in edits:
        if edit[0] in ("flip", "overwrite", "cut out", "put in", "truncate"):
            edit_bytes(path, edit)
        elif edit[0] == "entry":
            with contextlib.suppress(Exception):  # bytes were damaged before
                edit_model(path, edit)
        else:
            edit_hdf5(path, edit)


def check_plausible(found):
    """Values that come of damaged files must at least be possible: ascending positions, no infinity, nothing out of range."""
    for name in ("lat", "lon", "days"):
        if name in found:
            assert np.isfinite(found[name]).all() and (np.diff(found[name]) > 0).all(), (name, found[name])
    for name, limits in LIMITS.items():
        if name in found:
            known = found[name][~np.isnan(found[name])]
            assert not known.size or limits.lowest <= known.min() <= known.max() <= limits.highest, (name, known.min(), known.max())


def read_damaged(work, originals, case):
    """Read a damaged file; "values" or "refused". Anything else is raised."""
    family, edits = case
    folder = work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals[family], folder)
    apply(folder / FAMILIES[family].file, edits)
    (work / "case.txt").write_text(repr(case))
    begin = time.monotonic()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = FAMILIES[family].read(folder)
    except UserError as error:
        assert str(folder) in str(error), f"names no file: {error}"
        return "refused"
    finally:
        unlock_folders()
        assert time.monotonic() - begin < 60, "too slow"
    check_plausible(found)
    return "values"


def fuzz(number, examples, work):
    """Run examples of one seed; counts of how they ended, and one case of each fault: (family, error, where) -> (case, message)."""
    warnings.simplefilter("ignore")
    utils.quicklook.show_cube = lambda path: None
    originals = {}
    for name, family in FAMILIES.items():
        originals[name] = work / "originals" / name
        originals[name].mkdir(parents=True, exist_ok=True)
        if not any(originals[name].iterdir()):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                family.write(originals[name])
                unlock_folders()
    counts, faults = collections.Counter(), {}

    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(damage())
    def run(case):
        try:
            counts[case[0], read_damaged(work, originals, case)] += 1
        except Exception as error:
            where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[:-7:-1])
            counts[case[0], "wrong"] += 1
            faults.setdefault((case[0], type(error).__name__, where), (case, " ".join(str(error).split())[:300]))

    run()
    return counts, faults


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given_settings = parser.parse_args()
    if given_settings.child:
        counts, faults = fuzz(int(given_settings.child[0]), EXAMPLES, Path(given_settings.child[1]))
        print("counts", json.dumps([[*key, count] for key, count in counts.items()]))
        print("faults", json.dumps([[" ".join(key), *map(str, fault)] for key, fault in faults.items()]))
        return
    total, seen, end, number = collections.Counter(), set(), time.monotonic() + 60 * given_settings.minutes, given_settings.first_seed
    with tempfile.TemporaryDirectory() as work:
        while time.monotonic() < end:
            try:
                done = subprocess.run([sys.executable, __file__, "--child", str(number), work], capture_output=True, text=True,
                                      timeout=LONGEST_CHILD)
            except subprocess.TimeoutExpired:  # a library whose memory is spoilt may turn in a circle
                done = subprocess.CompletedProcess([], f"none within {LONGEST_CHILD} s", "", "")
            if done.returncode:  # a library has ended the process
                seen.add(f"{number}")
                case = Path(work, "case.txt")
                print(f"seed {number}: exit code {done.returncode}\n{case.read_text() if case.exists() else ''}\n{done.stderr[-2500:]}\n",
                      flush=True)
            for line in done.stdout.splitlines():
                if line.startswith("counts "):
                    total.update({(family, how): count for family, how, count in json.loads(line[7:])})
                for what, case, message in json.loads(line[7:]) if line.startswith("faults ") else ():
                    if what not in seen:
                        print(f"seed {number}: {what}\n    {message}\n    {case}", flush=True)
                    seen.add(what)
            number += 1
    for family in sorted({family for family, _ in total}):
        print(f"{family}: {total[family, 'values']} read, {total[family, 'refused']} refused, {total[family, 'wrong']} wrong")
    print(f"{sum(total.values())} cases in {given_settings.minutes:g} minutes, {len(seen)} faults")


if __name__ == "__main__":
    main()
