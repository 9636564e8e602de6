"""Download SMAP L4 (SPL4SMGP), whole granules or only the three fields of a box, from the data centre NSIDC.

Reads   NASA Earthdata, with your account (free, https://urs.earthdata.nasa.gov): a file ~/.netrc that only you can
        read (chmod 600) with the line
            machine urs.earthdata.nasa.gov login <user name> password <password>
        or the environment variables EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD

Writes  data/smap_l4/granules/SMAP_L4_SM_gph_<time>_V<version>_<delivery>.h5, or with --stream ..._subset.h5: the three
        fields in the box, in the same layout; data_processing/prepare_smap_l4.py makes a cube of them

Run     python data_processing/download_smap_l4.py --stream

Expect  8 granules a day. Whole: 143 MB each, 1.15 GB a day. With --stream about 8 MB of each are transferred and
        about 1 MB is kept for China. Stop at any time: the same command goes on, and fetches nothing twice.
"""
import calendar
import io
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import earthaccess
import h5py
import numpy as np
import requests
from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable
from requests.adapters import HTTPAdapter

from data_processing.errors import UserError
from data_processing.files import PROJECT, format_bytes, free_bytes, lock_folder, new_hdf5, remove_half_written, replacing
from data_processing.regrid import EASE_CELL, EASE_COLUMNS, EASE_ROWS, EASE_TOLERANCE, box_window, ease_grid
from data_processing.terminal import progress_bar
from utils.command_line import OTHER_FOLDER, RESUME_FILES, run_script

logging.getLogger("earthaccess").setLevel(logging.CRITICAL + 1)  # it logs what the service answers to a log-in
warnings.filterwarnings("ignore", category=FutureWarning, module="earthaccess")

PRODUCT = "SPL4SMGP"
ACCOUNT_PAGE = "https://urs.earthdata.nasa.gov"
FIELDS = ("sm_surface", "soil_temp_layer1", "precipitation_total_surface_flux")
"""Of the group Geophysical_Data: m3 m-3, K, kg m-2 s-1 (GEOS-ESM/SMAP_L4_Ops, GPH_local_meta.nml)."""
SHAPE = (EASE_ROWS[9], EASE_COLUMNS[9])
NAME = re.compile(r"SMAP_L4_SM_gph_(\d{8}T\d{6})_V[vb](\d{4})_(\d{3})(_\d+)?\.h5")
"""Stamp (UTC, centre of the three hours), science version, number of the delivery, `_1` where it came twice."""
FIRST_DAY = date(2015, 3, 31)
STAMPS_PER_DAY = 8
WHOLE_SIZE = 143e6  # bytes of a granule, version 8
SUBSET_SIZE = 1.5  # bytes of a cell and field of a subset, compressed
SUBSET_ENDING = "_subset.h5"

TIMEOUT = (5, 30)  # to connect, to wait for the next bytes, s; earthaccess would wait for ever
PAUSES = (1, 3, 5)  # between tries, s
GIVE_UP = 8  # granules in a row that fail
BLOCK = 64 * 1024  # bytes written at once, and the least that is read over the network with --stream
REFERENCES = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")  # attributes that point into their own file


@dataclass(frozen=True)
class Settings:
    # what
    first_day: str = "2015-03-31"  # first day, UTC; the product begins on 2015-03-31
    last_day: str = "2020-12-31"  # last day
    version: Literal["001", "002", "003", "004", "005", "006", "007", "008"] = "008"  # never mix two in one cube
    stream: bool = False  # transfer and keep the three fields in the box only
    box: tuple[float, float, float, float] = (55, 73, 17, 136)  # north, west, south, east, degrees, for --stream
    # how
    threads: int = 4  # granules at a time, 1..8
    # output
    folder: str = str(PROJECT / "data" / "smap_l4" / "granules")  # existing files are kept


class RemoteGranule(NamedTuple):
    """One granule of the service."""

    name: str  # of the file
    url: str
    size: int | None  # bytes, where the service says


class Failed(Exception):
    """A granule did not arrive; others may. The message is the reason."""


class Broken(Failed):
    """The same, but another try may help."""


class _Stopped(Exception):
    """The run is ending: transfers end too."""


def main(settings: Any) -> None:
    first_day, last_day = check_days(settings)
    folder = Path(settings.folder).expanduser().absolute()
    window = product_window(settings.box)
    check_versions(folder, settings.version)
    present = present_subsets(folder, window) if settings.stream else set()
    print(announce_granules(settings, folder, window, first_day, last_day, present), flush=True)
    account = log_in()
    lock_folder(folder, OTHER_FOLDER)
    fetch_granules(settings, folder, window, first_day, last_day, present, account)


# ---------------------------------------------------------------------------------------------- before anything is sent
def check_days(settings: Any) -> tuple[date, date]:
    """Refuse settings that the service could not answer.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    first_day, last_day : datetime.date

    Raises
    ------
    UserError
    """
    days = []
    for name in ("first_day", "last_day"):
        try:
            days.append(date.fromisoformat(getattr(settings, name)))
        except ValueError:
            raise UserError(f"{name} is {getattr(settings, name)!r}; write a day as 2015-03-31.") from None
    first_day, last_day = days
    if not FIRST_DAY <= first_day <= last_day:
        raise UserError(f"first_day is {first_day} and last_day {last_day}; the first must not be before {FIRST_DAY}, "
                        "when the product begins, nor after the last.")
    if not 1 <= settings.threads <= 8:
        raise UserError(f"threads is {settings.threads}; the service bears 1 to 8 connections of one user.")
    return first_day, last_day


def product_window(box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns (slices) of the global 9 km grid whose centres lie in a box; row 0 is the northernmost."""
    south, north, west, east = box_window(ease_grid(9), box)
    return slice(SHAPE[0] - north, SHAPE[0] - south), slice(west, east)


def axes_of_window(window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Metres north and east, y [h] descending and x [w], of the centres in a window; EPSG:6933."""
    rows, columns = (np.arange(part.start, part.stop) for part in window)
    return ((SHAPE[0] - 1) / 2 - rows) * EASE_CELL[9], (columns - (SHAPE[1] - 1) / 2) * EASE_CELL[9]


def check_versions(folder: Path, version: str) -> None:
    """Refuse a folder with granules of another version of the product: no cube can be made of the two."""
    for path in sorted(folder.glob("SMAP_L4_SM_gph_*.h5")):
        match = NAME.match(path.name.replace(SUBSET_ENDING, ".h5"))
        if match and match[2][0] != version[-1]:
            raise UserError(f"{path} is of version 00{match[2][0]} of the product, {version} is asked for, and no cube "
                            "can be made of both. Give the same --version, or another --folder.")


def present_subsets(folder: Path, window: tuple[slice, slice]) -> set[str]:
    """The subsets that an earlier run left in the folder.

    Parameters
    ----------
    folder : Path
    window : tuple of slice
        Rows and columns that are asked for.

    Returns
    -------
    set of str
        File names; without those that cannot be read.

    Raises
    ------
    UserError
        A subset of another box.
    """
    y, x = axes_of_window(window)
    present = set()
    for path in sorted(folder.glob(f"SMAP_L4_SM_gph_*{SUBSET_ENDING}")):
        try:
            with h5py.File(path, "r") as file:
                found = [file[name][()] for name in ("y", "x")]
        except (OSError, KeyError):
            continue
        for axis, wanted in zip(found, (y, x)):
            if axis.shape != wanted.shape or np.abs(axis - wanted).max() > EASE_TOLERANCE:
                raise UserError(f"{path} holds {found[0].size} x {found[1].size} cells of another box than the one "
                                f"asked for, {y.size} x {x.size} cells. Give the same --box, or another --folder.")
        present.add(path.name)
    return present


def announce_granules(settings: Any, folder: Path, window: tuple[slice, slice], first_day: date, last_day: date,
                      present: set[str]) -> str:
    """What is going to be done, how large it is, what the disk holds.

    Raises
    ------
    UserError
        It does not fit on the disk.
    """
    total = STAMPS_PER_DAY * ((last_day - first_day).days + 1)
    there = len({name_match[1] for name_match in map(NAME.fullmatch, names_there(folder, present))
                 if name_match and first_day <= day_of(name_match[1]) <= last_day})
    cells = np.prod([part.stop - part.start for part in window])
    size = len(FIELDS) * cells * SUBSET_SIZE if settings.stream else WHOLE_SIZE
    needed = (total - there) * size
    free = free_bytes(folder)
    what = f"three fields of {cells} cells" if settings.stream else "whole"
    text = (f"{PRODUCT} version {settings.version}, {first_day} to {last_day}: {total} granules, {what}; {there} are "
            f"in {folder}, the others take about {format_bytes(needed)} of {format_bytes(free)} free")
    if needed > free:
        other = "" if settings.stream else ", or keep only the fields of a box with --stream"
        raise UserError(f"{text}. Choose fewer days (--first-day, --last-day) or a folder on a larger disk "
                        f"(--folder){other}.")
    return text


def names_there(folder: Path, present: set[str]) -> set[str]:
    """Names of the granules that stand in the folder, whole or (of `present`) as subset."""
    whole = {path.name for path in folder.glob("SMAP_L4_SM_gph_*.h5") if not path.name.endswith(SUBSET_ENDING)}
    return whole | {name.replace(SUBSET_ENDING, ".h5") for name in present}


def day_of(stamp: str) -> date:
    """UTC day of a stamp such as 20170801T013000."""
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S").date()


# ---------------------------------------------------------------------------------------------------------- the account
class Account(earthaccess.Auth):
    """The log-in of earthaccess; its requests do not wait for ever, and a service that is down raises."""

    def get_session(self) -> requests.Session:
        """A session with the account's token and password."""
        session = super().get_session()
        session.mount("https://", _Adapter())
        session.hooks["response"].append(_refuse_breakdown)
        return session


class _Adapter(HTTPAdapter):
    def send(self, *args: Any, **options: Any) -> Any:
        return super().send(*args, **options | {"timeout": options.get("timeout") or TIMEOUT})


def _refuse_breakdown(response, **_):
    if response.status_code == 429 or response.status_code >= 500:
        response.raise_for_status()


def log_in() -> Account:
    """Log in with the token or password of the environment, or the password in ~/.netrc; never asks.

    Returns
    -------
    Account

    Raises
    ------
    UserError
        No account, wrong password, no network, service down.
    """
    if not os.environ.get("EARTHDATA_TOKEN", "x").strip():
        del os.environ["EARTHDATA_TOKEN"]  # earthaccess would take an empty token for one
    token = os.environ.get("EARTHDATA_TOKEN", "")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError("EARTHDATA_TOKEN holds blanks, line breaks or characters that no token has. Copy it again from "
                        f"{ACCOUNT_PAGE} (Generate Token).")
    password = os.environ.get("EARTHDATA_USERNAME") and os.environ.get("EARTHDATA_PASSWORD")
    strategy, place = ("environment", "EARTHDATA_USERNAME and EARTHDATA_PASSWORD") if token or password else (
        "netrc", f"{earthaccess.auth.netrc_path()}")
    account = Account()
    try:
        account.login(strategy=strategy)
    except LoginStrategyUnavailable:
        raise UserError(f"no Earthdata account found in the environment or in {place}. Register (free) at "
                        f"{ACCOUNT_PAGE}, write the line `machine urs.earthdata.nasa.gov login <user name> password "
                        "<password>` into ~/.netrc and `chmod 600 ~/.netrc`.") from None
    except LoginAttemptFailure:
        raise UserError(f"Earthdata Login refuses the user name or password of {place}. Try them at {ACCOUNT_PAGE}, "
                        "and correct them.") from None
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise no_service("Earthdata Login", reason(error)) from None
    return account


def no_service(name: str, why: str) -> UserError:
    """The one line to say when a service cannot be reached."""
    return UserError(f"no answer from {name} ({why}). Check the network; if others can be reached, see "
                     f"https://status.earthdata.nasa.gov and start again later: {RESUME_FILES}.")


def reason(error: Exception) -> str:
    """What went wrong in a request, in a few words and without its address and headers: they may hold secrets."""
    if isinstance(error, requests.HTTPError):
        return f"it is down or busy: HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be checked: behind a company's proxy set REQUESTS_CA_BUNDLE"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy of the environment (HTTPS_PROXY) cannot be reached"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "an answer that is none of its own: the network may want a log-in in a browser first"


# ------------------------------------------------------------------------------------------------- what the service has
def search(account: Account, version: str, first_day: date, last_day: date) -> list[RemoteGranule]:
    """The granules whose stamps lie in some days, one a stamp: the highest science version, the last delivery.

    Parameters
    ----------
    account : Account
    version : str
        Of the product, such as "008".
    first_day, last_day : datetime.date

    Returns
    -------
    list of RemoteGranule
        By stamp.

    Raises
    ------
    UserError
        The token is refused.
    Broken
    """
    query = earthaccess.DataGranules(account).short_name(PRODUCT).version(version)
    try:
        granules = query.temporal(first_day.isoformat(), last_day.isoformat()).get_all()
    except RuntimeError as error:  # of earthaccess; its text is the service's
        cause: Any = error.__cause__
        status = cause.response.status_code
        if status in (401, 403):
            raise UserError(token_refused(status)) from None
        raise Broken(f"HTTP status {status} to a search") from None
    except (KeyError, ValueError) as error:
        raise Broken(reason(error)) from None
    best = {}
    for item in filter(None, map(item_of, granules)):
        match = NAME.fullmatch(item.name)
        if first_day <= day_of(match[1]) <= last_day:
            best[match[1]] = max(item, best.get(match[1], item), key=_preference)
    return [best[stamp] for stamp in sorted(best)]


def item_of(granule: Any) -> RemoteGranule | None:
    """The file of a granule in the service's answer (UMM-G, earthaccess.DataGranule), or None."""
    for url in granule.data_links():
        name = urlparse(url).path.rpartition("/")[2]
        if url.startswith("https://") and NAME.fullmatch(name):
            archive = granule["umm"].get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
            sizes = [part.get("SizeInBytes") for part in archive if part.get("Name", name) == name]
            return RemoteGranule(name, url, sizes[0] if sizes else None)
    return None


def _preference(item):
    """Highest science version, then last delivery, then the one without `_1`."""
    match = NAME.fullmatch(item.name)
    return match[2], match[3], match[4] is None


def token_refused(status: int) -> str:
    """What to say to a status 401 or 403."""
    return (f"NASA Earthdata refuses access with this account's token (HTTP status {status}); tokens end after 60 "
            f"days. Make a new one at {ACCOUNT_PAGE} (Generate Token) and set EARTHDATA_TOKEN, or use ~/.netrc.")


# ------------------------------------------------------------------------------------------------------------ transfers
class _Service:
    """Transfers with one account: a session for each thread, bytes counted, all ended by `stop`."""

    def __init__(self, account, show):
        self.account = account
        self.received = 0
        self._show = show  # called with the bytes received so far
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._sessions = threading.local()

    def stop(self) -> None:
        """End all transfers and pauses."""
        self._stop.set()

    def add_bytes(self, number: int) -> None:
        """Count bytes as they come in; breaks off where the run is ending."""
        self.pause(0)
        with self._lock:
            self.received += number
            self._show(self.received)

    def pause(self, seconds: float) -> None:
        """Wait; breaks off where the run is ending."""
        if self._stop.wait(seconds):
            raise _Stopped

    def patiently(self, attempt: Callable[[], Any]) -> Any:
        """Result of `attempt()`, tried a few times where the connection breaks.

        Raises
        ------
        Failed
        """
        for seconds in (*PAUSES, None):
            try:
                return attempt()
            except requests.RequestException as error:
                failure = Broken(reason(error))
            except Broken as error:
                failure = error
            if seconds is None:
                raise failure
            self.pause(seconds)

    def get(self, url: str, first: int | None = None, last: int | None = None, signed: bool = False) -> requests.Response:
        """Begin to transfer bytes `first` to `last` (included; None: all) of a file.

        `signed` says that the address is one that the service has led to. It needs no token: none is sent.

        Returns
        -------
        requests.Response

        Raises
        ------
        UserError
            The account may not have the file; then it may have none.
        Failed
        """
        if not hasattr(self._sessions, "session"):
            self._sessions.session = self.account.get_session()
        headers: dict = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
        if first is not None:
            headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        if signed:
            headers["Authorization"] = None
        response = self._sessions.session.get(url, headers=headers, stream=True)
        try:
            self._check(response, url, signed)
        except BaseException:
            response.close()
            raise
        return response

    def _check(self, response, url, signed):
        if signed and response.status_code in (401, 403):
            raise Broken("an address that has expired")
        if response.status_code in (401, 403) and "eula" in response.text.lower():
            raise UserError(f"the licence (EULA) of {PRODUCT} is not accepted yet. Log in at {ACCOUNT_PAGE}, accept it "
                            f"(EULAs > Accept New EULAs), then start again. Or open {url} once in a browser: it asks "
                            "for what is missing.")
        if urlparse(response.url).hostname == self.account.system.edl_hostname:
            raise UserError(f"the data centre's application is not approved for this account. Log in at {ACCOUNT_PAGE},"
                            " approve those of NSIDC (Applications > Authorized Apps > Approve More Applications), "
                            f"then start again. Or open {url} once in a browser: it asks for what is missing.")
        if response.status_code in (401, 403):
            raise UserError(token_refused(response.status_code))
        if response.status_code >= 400:
            raise Failed(f"HTTP status {response.status_code}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise Broken("a web page came instead of the file")


def total_size(response: requests.Response) -> int | None:
    """Bytes of the whole file of which this is all or a part, as the response says; None where it does not."""
    if response.status_code == 206:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = response.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def download_granule(item: RemoteGranule, folder: Path, service: _Service) -> None:
    """Transfer a whole granule; a connection that breaks is taken up where it broke.

    Parameters
    ----------
    item : RemoteGranule
    folder : Path
    service : _Service

    Raises
    ------
    UserError, Failed
    """
    path = folder / item.name
    remove_half_written(folder, path.stem)
    if path.exists() and path.stat().st_size == service.patiently(lambda: remote_size(item, service)):
        return  # the catalogue is wrong about the size
    with replacing(path) as temporary:
        service.patiently(lambda: go_on(item, temporary, service))


def remote_size(item: RemoteGranule, service: _Service) -> int | None:
    """Bytes of a granule, from the place where it lies and not from the catalogue."""
    with service.get(item.url, first=0, last=0) as response:
        return total_size(response)


def go_on(item: RemoteGranule, temporary: Path, service: _Service) -> None:
    """Transfer what `temporary` does not hold yet of a granule."""
    with open(temporary, "ab") as file:
        start = file.tell()
        with service.get(item.url, first=start or None) as response:
            expected = total_size(response) or item.size
            if response.status_code != 206:
                file.truncate(0)
            for chunk in response.iter_content(BLOCK):
                file.write(chunk)
                service.add_bytes(len(chunk))
    found = temporary.stat().st_size
    if expected is not None and found != expected:
        raise Broken(f"{found} of {expected} bytes came")
    try:
        h5py.File(temporary, "r").close()
    except OSError:
        temporary.unlink()
        raise Broken("what came is no whole HDF5 file") from None


# ---------------------------------------------------------------------------------------------- fields over the network
class RemoteFile(io.RawIOBase):
    """The blocks of a remote file that were fetched so far, as a file for h5py.

    Reading others fails and is noted in `missing` (first block, last block + 1). They are fetched outside of h5py,
    which lets only one thread in at a time.
    """

    def __init__(self, size):
        self.size = size
        self.missing = None
        self._blocks = {}
        self._position = 0

    def add(self, first: int, data: bytes) -> None:
        """Keep the bytes from block number `first` on."""
        for start in range(0, len(data), BLOCK):
            self._blocks[first + start // BLOCK] = data[start:start + BLOCK]

    def readable(self) -> bool:
        """As of any file that is read."""
        return True

    def seekable(self) -> bool:
        """Any place can be gone to."""
        return True

    def tell(self) -> int:
        """The place, bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and say where that is."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with what comes next, and say with how many bytes."""
        start, stop = self._position, min(self._position + len(buffer), self.size)
        if start >= stop:
            return 0
        numbers = range(start // BLOCK, (stop - 1) // BLOCK + 1)
        lacking = [number for number in numbers if number not in self._blocks]
        if lacking:
            self.missing = (lacking[0], lacking[-1] + 1)
            raise OSError("not fetched yet")
        data = b"".join(self._blocks[number] for number in numbers)
        offset = start - numbers[0] * BLOCK
        buffer[:stop - start] = data[offset:offset + stop - start]
        self._position = stop
        return stop - start


class _Part(NamedTuple):
    """A dataset of a granule, cropped."""

    values: np.ndarray
    fill_value: object
    attributes: list  # (name, value, type)


def stream(item: RemoteGranule, folder: Path, window: tuple[slice, slice], service: _Service) -> None:
    """Read the three fields of a granule over the network and keep a box of them, in the product's own layout.

    Parameters
    ----------
    item : RemoteGranule
    folder : Path
    window : tuple of slice
        Rows and columns of the global grid.
    service : _Service

    Raises
    ------
    UserError, Failed
    """
    path = folder / subset_name(item)
    remove_half_written(folder, path.stem)
    parts, root = service.patiently(lambda: read_remote(item, window, service))
    with replacing(path) as temporary:
        write_subset(temporary, parts, root, window)


def subset_name(item: RemoteGranule) -> str:
    """Name of the file that keeps a box of a granule."""
    return item.name.removesuffix(".h5") + SUBSET_ENDING


def read_remote(item: RemoteGranule, window: tuple[slice, slice], service: _Service) -> tuple[dict, list]:
    """Read what a subset holds, in as few bytes as the layout of the file allows.

    Returns
    -------
    parts : dict
        Path in the file -> _Part, of the fields and of x, y, time and the projection where the granule has them.
    root : list
        Attributes of the file.
    """
    with service.get(item.url, first=0, last=BLOCK - 1) as response:
        if response.status_code != 206:
            raise UserError("the service sends whole files only; start again without --stream.")
        size, signed_url = total_size(response), response.url
        remote = RemoteFile(size)
        remote.add(0, _content(response, BLOCK, size, service))
    parts = {}
    while True:
        remote.missing = None
        root = None
        try:
            with h5py.File(remote, "r") as file:
                read_parts(file, window, parts)
                root = copy_attributes(file)
        except Failed:
            if remote.missing is None:  # otherwise: not known yet
                raise
        except (OSError, KeyError, RuntimeError, ValueError):
            if remote.missing is None:
                raise Broken("what came is no whole HDF5 file") from None
        if remote.missing is None:
            return parts, root
        first, last = remote.missing
        stop = min(last * BLOCK, size)
        with service.get(signed_url, first * BLOCK, stop - 1, signed=signed_url != item.url) as response:
            remote.add(first, _content(response, stop - first * BLOCK, size, service))


def _content(response, length, size, service):
    """The bytes of a part of a file, which must be as many as were asked for."""
    data = response.content
    service.add_bytes(len(data))
    if response.status_code != 206 or len(data) != min(length, size) or total_size(response) != size:
        raise Broken("another part of the file came than was asked for")
    return data


def read_parts(file: h5py.File, window: tuple[slice, slice], parts: dict) -> None:
    """Add to `parts` those that it does not hold yet."""
    rows, columns = window
    wanted = {"y": rows, "x": columns, "time": (), "EASE2_global_projection": ()}
    wanted = {name: place for name, place in wanted.items() if name in file}  # versions 1 to 3 have no axes
    for name in FIELDS:
        name = f"Geophysical_Data/{name}"
        if name not in file:
            raise Failed(f"the granule has no field {name}")
        if file[name].shape != SHAPE:
            raise Failed(f"{name} has {file[name].shape} cells instead of {SHAPE}")
        wanted[name] = window
    for name, place in wanted.items():
        if name not in parts:
            dataset = file[name]
            parts[name] = _Part(dataset[place], dataset.fillvalue, copy_attributes(dataset))


def copy_attributes(source: Any) -> list[tuple]:
    """Attributes of a file or dataset as (name, value, type), but those that point into their own file."""
    return [(name, source.attrs[name], source.attrs.get_id(name).dtype) for name in source.attrs
            if name not in REFERENCES]


def write_subset(path: Path, parts: dict, root: list, window: tuple[slice, slice]) -> None:
    """Write a box of a granule in the product's own layout.

    Parameters
    ----------
    path : Path
    parts, root
        Of :func:`read_remote`.
    window : tuple of slice
        Rows and columns of the global grid.
    """
    with new_hdf5(path) as file:
        _set_attributes(file, root)
        for name, metres in zip(("y", "x"), axes_of_window(window)):
            part = parts.get(name, _Part(metres, None, [("units", np.bytes_("m"), None)]))
            axis = file.create_dataset(name, data=part.values)
            axis.make_scale(name)
            _set_attributes(axis, part.attributes)
        for name, part in parts.items():
            if name in ("y", "x"):
                continue
            whole = {"chunks": part.values.shape, "compression": "gzip", "compression_opts": 3,
                     "fillvalue": part.fill_value} if np.ndim(part.values) == 2 else {}
            dataset = file.create_dataset(name, data=part.values, **whole)
            _set_attributes(dataset, part.attributes)
            for dimension, axis in enumerate(("y", "x") if whole else ()):
                dataset.dims[dimension].attach_scale(file[axis])


def _set_attributes(target, attributes):
    for name, value, kind in attributes:
        target.attrs.create(name, value, dtype=kind)


# ------------------------------------------------------------------------------------------------------- month by month
def months(first_day: date, last_day: date) -> Iterator[tuple[date, date]]:
    """First and last day of each month, or of the part of it that is asked for."""
    while first_day <= last_day:
        end = first_day.replace(day=calendar.monthrange(first_day.year, first_day.month)[1])
        yield first_day, min(end, last_day)
        first_day = end + timedelta(days=1)


def is_there(item: RemoteGranule, folder: Path, stream: bool, present: set[str]) -> bool:
    """Whether a granule stands in the folder, whole (by its size) or, where fields are asked for, as a subset."""
    if stream and subset_name(item) in present:
        return True
    path = folder / item.name
    return path.exists() and item.size in (None, path.stat().st_size)


def fetch_granules(settings: Any, folder: Path, window: tuple[slice, slice], first_day: date, last_day: date, present: set[str],
                   account: Account) -> None:
    """Search and transfer month by month, a few granules at once; one that fails does not stop the others.

    Raises
    ------
    UserError
        At the end, where granules are missing; at once, where none can be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, outcomes = 0, []  # of the service; (name, failure or None) of those fetched now
    total = STAMPS_PER_DAY * ((last_day - first_day).days + 1)
    interval = 0.5 if sys.stderr.isatty() else 60
    with progress_bar(total=total, desc="downloading", unit="granule", miniters=0,
                      mininterval=interval) as bar, ThreadPoolExecutor(settings.threads) as pool:
        service = _Service(account, show=lambda number: _show(bar, number))

        def fetch(item):
            return stream(item, folder, window, service) if settings.stream else download_granule(item, folder, service)

        try:
            for first, last in months(first_day, last_day):
                items = _search(service, account, settings.version, first, last)
                missing = [item for item in items if not is_there(item, folder, settings.stream, present)]
                found += len(items)
                bar.total += len(missing) - STAMPS_PER_DAY * ((last - first).days + 1)
                jobs = {pool.submit(fetch, item): item for item in missing}
                for job in as_completed(jobs):
                    outcomes.append((jobs[job].name, _failure(job)))
                    _note(outcomes, bar)
        except BaseException:
            service.stop()
            pool.shutdown(cancel_futures=True)
            raise
    print(closing(settings, folder, total, found, outcomes, service.received))


def _failure(job):
    """The reason why a granule did not arrive, or None; what stops the whole run is raised."""
    try:
        job.result()
    except Failed as failure:
        return failure
    return None


def _note(outcomes, bar):
    """Show the last outcome, give up where too many in a row are bad."""
    name, failure = outcomes[-1]
    if failure:
        bar.write(f"error: {name}: {failure}", file=sys.stderr)
    bar.update()
    if len(outcomes) >= GIVE_UP and all(failure for _, failure in outcomes[-GIVE_UP:]):
        raise UserError(f"{GIVE_UP} granules in a row did not arrive; the reasons stand above. Check the network, and "
                        f"start again later: {RESUME_FILES}.")


def closing(settings: Any, folder: Path, total: int, found: int, outcomes: list[tuple[str, Exception | None]],
            received: int) -> str:
    """The last line.

    Raises
    ------
    UserError
        Granules are missing.
    """
    if not found:
        raise UserError(f"the service has no granules of {PRODUCT} version {settings.version} from "
                        f"{settings.first_day} to {settings.last_day}. Versions that have been replaced are withdrawn, "
                        "and the newest days come about a week late: choose another --version or other days.")
    failed = sorted(name for name, failure in outcomes if failure)
    if failed:
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise UserError(f"{len(failed)} of {found} granules did not arrive: {names}. The reasons stand above; the "
                        f"others are kept, {RESUME_FILES}.")
    absent = f"; the service has none at the other {total - found} times" if found < total else ""
    return f"{found} granules are in {folder}, {len(outcomes)} of them fetched now ({format_bytes(received)}){absent}"


def _search(service, account, version, first_day, last_day):
    try:
        return service.patiently(lambda: search(account, version, first_day, last_day))
    except Broken as failure:
        raise no_service("the catalogue of NASA Earthdata", failure) from None


def _show(bar, received):
    """Bytes behind the bar."""
    bar.set_postfix_str(format_bytes(received), refresh=False)
    if sys.stderr.isatty():
        bar.update(0)


if __name__ == "__main__":
    run_script(main, Settings, RESUME_FILES)
