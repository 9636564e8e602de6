"""Download ERA5-Land (or ERA5) from the Copernicus Climate Data Store, one file a month and variable.

Reads   the Climate Data Store, with your account: a file ~/.cdsapirc of two lines,
            url: https://cds.climate.copernicus.eu/api
            key: <your personal access token, from https://cds.climate.copernicus.eu/profile>
        or the environment variables CDSAPI_URL and CDSAPI_KEY. The licence must be accepted once, on the page
        https://cds.climate.copernicus.eu/datasets/reanalysis-era5-land?tab=download#manage-licences

Writes  data/era5_land/downloads/era5_land_<variable>_<year>_<month>.nc as the service delivers them, and beside each a
        note (.json) that says which days and hours it holds; data_processing/prepare_era5_land.py makes a cube of them

Run     python data_processing/download_era5_land.py --first-day 2000-01-01 --last-day 2015-03-30

Expect  0.27 GB a month for China with soil moisture and temperature four times a day. The service queues every request
        for minutes to hours. Stop at any time: the same command goes on, and fetches nothing twice.
"""
import json
import logging
import sys
import threading
import time
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cdsapi.api
import netCDF4
import requests
from ecmwf.datastores.processing import DownloadError, LinkError, ProcessingFailedError
from multiurl.base import NoBar

from data_processing.era5_files import check_bomb
from data_processing.errors import UserError
from data_processing.files import HDF5_SIGNATURE, PROJECT, format_bytes, free_bytes, lock_folder, replacing
from data_processing.terminal import progress_bar
from utils.command_line import OTHER_FOLDER, RESUME_FILES, run_script

SERVICE = "https://cds.climate.copernicus.eu"
VARIABLES = {"swvl1": "volumetric_soil_water_layer_1", "stl1": "soil_temperature_level_1", "tp": "total_precipitation"}
"""Short name in the files -> name in a request; soil layer 1 is 0 to 7 cm deep."""
MASK, MASK_DAY = "land_sea_mask", date(2000, 1, 1)  # constant in time: any day will do
DELAY = timedelta(days=5)
"""Age of the newest fields: both products are about 5 days late (confluence.ecmwf.int pageId=140385202)."""
AT_ONCE = 4
"""Requests in the service's queue at a time; it turns away accounts that queue many."""

BUSY = (408, 429, 500, 502, 503, 504)
FIRST_TIMEOUT = (4, 10)  # to connect and to answer at first contact, s: no network is known in seconds
TIMEOUT = 60  # s
FIRST_WAITS = (1, 2, 4)  # between tries at first contact, s
WAITS = (5, 15, 60, 120, 300, 600)  # between tries later on, where the service is busy or the network is lost, s
POLL_SECONDS = (1, 30)  # between two questions for the state of a request: at first, at most
RESUME_TRANSFER = {"maximum_tries": 20, "retry_after": (2, 30, 2)}  # tries; waits: first, longest (s), growth


class _Product(NamedTuple):
    """A data set of the service: what to call it and its files, its cells (degrees), its first day."""

    title: str
    dataset: str
    prefix: str
    spacing: float
    begins: date


PRODUCTS = {"era5-land": _Product("ERA5-Land", "reanalysis-era5-land", "era5_land", 0.1, date(1950, 1, 2)),
            "era5": _Product("ERA5", "reanalysis-era5-single-levels", "era5", 0.25, date(1940, 1, 2))}


@dataclass(frozen=True)
class Settings:
    # what
    product: Literal["era5-land", "era5"] = "era5-land"  # 0.1 degrees, land only; or 0.25 degrees, with land-sea mask
    first_day: str = "2000-01-01"  # first day, UTC
    last_day: str = "2015-03-30"  # last day; the default is the record before SMAP
    box: tuple[float, float, float, float] = (55, 73, 17, 136)  # north, west, south, east, degrees; default China
    hours: int = 6  # soil moisture and temperature every n hours from 00 UTC: 1, 2, 3, 4, 6, 8, 12 or 24
    # output
    folder: str = str(PROJECT / "data" / "era5_land" / "downloads")  # of the files and their notes


class _Item(NamedTuple):
    """One file of one variable: all of `hours` (UTC) of all of `days`, which lie in one month."""

    path: Path
    variable: str
    days: tuple
    hours: tuple

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def fields(self) -> int:
        """How many fields it holds."""
        return len(self.days) * len(self.hours)


class RequestFailed(RuntimeError):
    """The service will not answer this request; others may do better. The message is its reason."""


class _Stopped(RuntimeError):
    """The run is ending: waiting and downloading threads end too."""


def main(settings: Any) -> None:
    product = PRODUCTS[settings.product]
    first_day, last_day = check_period(settings, product)
    items = wanted_items(settings, product, first_day, last_day)
    missing = missing_items(items, settings.box, product)
    print(announce_requests(settings, product, items, missing), flush=True)
    if not missing:
        return
    service = connect(product)
    lock_folder(Path(settings.folder).expanduser(), OTHER_FOLDER)
    fetch_requests(missing, settings, service)
    print(f"all {len(items)} files are in {settings.folder}")


# ---------------------------------------------------------------------------------------------------- what is wanted
def check_period(settings: Any, product: _Product, today: date | None = None) -> tuple[date, date]:
    """Refuse settings that the service could not answer.

    Parameters
    ----------
    settings : Settings
    product : _Product
    today : datetime.date, optional
        Default: the UTC date.

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
            raise UserError(f"{name} is {getattr(settings, name)!r}; write a date such as 2015-03-30.") from None
    first_day, last_day = days
    if first_day > last_day:
        raise UserError(f"first_day {first_day} lies after last_day {last_day}; exchange them.")
    if first_day < product.begins:
        raise UserError(f"first_day is {first_day}; {product.title} is complete from {product.begins} on.")
    today = today or datetime.now(UTC).date()
    newest = today - DELAY - timedelta(days=1)
    if last_day > newest:
        raise UserError(f"last_day is {last_day}; {product.title} is about {DELAY.days} days late, and a day's "
                        f"precipitation ends with the field of 00 UTC of the next day. Take --last-day {newest} or "
                        "earlier.")
    if settings.hours < 1 or 24 % settings.hours:
        raise UserError(f"hours is {settings.hours}; it must divide 24: 1, 2, 3, 4, 6, 8, 12 or 24.")
    north, west, south, east = settings.box
    if not (90 >= north > south >= -90 and -180 <= west < east <= 360 and east - west <= 360):
        raise UserError(f"box is {_box_text(settings.box)}; it must be north, west, south, east in degrees, "
                        "north above south and west below east, such as 55 73 17 136.")
    return first_day, last_day


def wanted_items(settings: Any, product: _Product, first_day: date, last_day: date) -> list[_Item]:
    """The files that hold the days asked for: one for each month and variable, in the order of months.

    Soil moisture and temperature: every `hours` of each day. Precipitation of ERA5-Land accumulates from 00 UTC, so
    that the total of a day is the field of 00 UTC of the next day (https://confluence.ecmwf.int/x/DI4fDw): 00 UTC of
    the days after first_day to the day after last_day. Precipitation of ERA5 is that of the hour before: all hours of
    the days, and a file of 00 UTC of the day after last_day alone.

    Parameters
    ----------
    settings : Settings
    product : _Product
    first_day, last_day : datetime.date

    Returns
    -------
    list of _Item
    """
    folder = Path(settings.folder).expanduser().absolute()
    day = timedelta(days=1)
    sampled = tuple(range(0, 24, settings.hours))

    def months(short_name, first, last, hours):
        for month in by_month(first, last):
            name = f"{product.prefix}_{short_name}_{month[0]:%Y_%m}.nc"
            yield _Item(folder / name, VARIABLES[short_name], tuple(month), tuple(hours))

    items = [*months("swvl1", first_day, last_day, sampled), *months("stl1", first_day, last_day, sampled)]
    if settings.product == "era5-land":
        items += months("tp", first_day + day, last_day + day, (0,))
    else:
        items += months("tp", first_day, last_day, range(24))
        name = f"{product.prefix}_tp_{last_day + day:%Y_%m_%d}_00utc.nc"
        items.append(_Item(folder / name, VARIABLES["tp"], (last_day + day,), (0,)))
        items.append(_Item(folder / f"{product.prefix}_{MASK}.nc", MASK, (MASK_DAY,), (0,)))
    return sorted(items, key=lambda item: (item.days[0].year, item.days[0].month))


def by_month(first: date, last: date) -> list[list[date]]:
    """The days from `first` to `last`, both included, as a list of days for each month."""
    months = defaultdict(list)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        months[day.year, day.month].append(day)
    return list(months.values())


def request_of(item: _Item, box: tuple[float, float, float, float], product: _Product) -> dict:
    """What the service is asked for one file.

    Parameters
    ----------
    item : _Item
    box : tuple of 4 float
        North, west, south, east, degrees.
    product : _Product

    Returns
    -------
    dict
        As the data set's page shows it under "Show API request".
    """
    request = {"variable": [item.variable], "year": f"{item.days[0]:%Y}", "month": [f"{item.days[0]:%m}"],
               "day": [f"{day:%d}" for day in item.days], "time": [f"{hour:02d}:00" for hour in item.hours],
               "data_format": "netcdf", "download_format": "unarchived", "area": list(box)}
    if product.prefix == "era5":
        request["product_type"] = ["reanalysis"]
    return request


# ----------------------------------------------------------------------------------------------------- what is there
def missing_items(items: list[_Item], box: tuple[float, float, float, float], product: _Product) -> list[_Item]:
    """The items that are not there, or not whole. What a file holds already is asked for again with the rest.

    Parameters
    ----------
    items : list of _Item
    box : tuple of 4 float
    product : _Product

    Returns
    -------
    list of _Item

    Raises
    ------
    UserError
        A file is there that holds another box.
    """
    missing = []
    for item in items:
        there = what_is_there(item.path)
        if there is None:
            missing.append(item)
            continue
        if any(abs((a - b + 180) % 360 - 180) >= product.spacing for a, b in zip(there["area"], box)):
            raise UserError(f"{item.path}: holds the box {_box_text(there['area'])}, {_box_text(box)} was asked (north "
                            "west south east). Name another --folder for another box.")
        days = {date.fromisoformat(day) for day in there["days"]}
        if not (days >= set(item.days) and set(there["hours"]) >= set(item.hours)):
            missing.append(item._replace(days=tuple(sorted(days | set(item.days))),
                                         hours=tuple(sorted({*there["hours"], *item.hours}))))
    return missing


def _box_text(box):
    return " ".join(f"{edge:g}" for edge in box)


def what_is_there(path: Path) -> dict | None:
    """The days, hours and area that a file holds whole: from its note, or where that is lost from the file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
        days (ISO dates), hours, area (north, west, south, east); None: no such file, or not whole.
    """
    if not path.exists():
        return None
    note = read_note(path)
    if note.get("bytes") == path.stat().st_size:
        return note
    try:
        stamps, area = look_into(path)
    except (RequestFailed, OSError):
        return None
    hours = defaultdict(set)
    for stamp in stamps:
        hours[stamp.date()].add(stamp.hour)
    return {"days": [str(day) for day in sorted(hours)], "area": area,
            "hours": sorted(set.intersection(*hours.values())) if hours else []}


def read_note(path: Path) -> dict:
    """The note beside a file: days, hours, area, bytes; job, while a request is with the service."""
    try:
        return json.loads(path.with_suffix(".json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def write_note(path: Path, note: dict) -> None:
    """Write the note beside a file."""
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(note) + "\n")


NETCDF_LOCK = threading.Lock()  # the NetCDF library serves one thread at a time


def look_into(path: Path) -> tuple[set[datetime], list[float]]:
    """Time stamps and area of a delivered file: NetCDF, or a ZIP of NetCDF files under the name of one.

    Parameters
    ----------
    path : Path

    Returns
    -------
    stamps : set of datetime
        Those of all members of a ZIP together.
    area : list of 4 float
        North, west, south, east: centres of the outer cells, degrees.

    Raises
    ------
    RequestFailed
        It is something else: a web page, a message, nothing.
    OSError
        It is damaged.
    """
    with open(path, "rb") as file:
        start = file.read(200)
    if start.startswith((HDF5_SIGNATURE, b"CDF")):
        with NETCDF_LOCK, netCDF4.Dataset(path) as data:
            return _coordinates(data)
    if not start.startswith(b"PK"):
        what = repr(" ".join(start.decode("utf-8", "replace").split())[:80]) if start else "an empty file"
        raise RequestFailed(f"no data were delivered but {what}")
    stamps, area = set(), None
    try:
        with zipfile.ZipFile(path) as archive:
            check_bomb(archive, path, path.parent)
            for member in archive.namelist():
                with NETCDF_LOCK, netCDF4.Dataset(member, memory=archive.read(member)) as data:
                    more, area = _coordinates(data)
                stamps |= more
    except UserError as error:
        raise RequestFailed(f"what was delivered is refused ({error})") from None
    except zipfile.BadZipFile as error:
        raise OSError(f"{path}: {error}") from None
    if area is None:
        raise RequestFailed("the ZIP file that was delivered is empty")
    return stamps, area


def _coordinates(data):
    """Time stamps and area of an open NetCDF file, as `look_into`."""
    time = data.variables.get("valid_time", data.variables.get("time"))
    if time is None or not {"latitude", "longitude"} <= set(data.variables):
        raise RequestFailed(f"the file that was delivered has no time, latitude and longitude but "
                            f"{', '.join(data.variables)}")
    stamps = netCDF4.num2date(time[...].ravel(), time.units, only_use_cftime_datetimes=False,
                              only_use_python_datetimes=True)
    lat, lon = data["latitude"][...], data["longitude"][...]
    return set(stamps), [float(edge) for edge in (lat.max(), lon.min(), lat.min(), lon.max())]


def announce_requests(settings: Any, product: _Product, items: list[_Item], missing: list[_Item]) -> str:
    """What is going to be done, for the screen: files, requests, fields, disk."""
    north, west, south, east = settings.box
    cells = (int((north - south) / product.spacing + 1e-6) + 1) * (int((east - west) / product.spacing + 1e-6) + 1)
    folder = Path(settings.folder).expanduser().absolute()
    lines = [f"{product.title}, {settings.first_day} to {settings.last_day}, box {_box_text(settings.box)} (north west "
             f"south east) -> {folder}",
             f"{len(items)} files of one month and variable, {len(items) - len(missing)} of them are there"
             + ("" if missing else ": nothing to ask for")]
    if missing:
        fields = sum(item.fields for item in missing)
        lines.append(f"{len(missing)} requests to make: {fields} fields, about "
                     f"{format_bytes(fields * cells * 4)} ({format_bytes(free_bytes(folder))} free on the disk)")
        lines.append("the service queues each request, for minutes to hours; stop at any time, "
                     f"{RESUME_FILES}")
    if settings.hours > 6:
        lines.append(f"note: {24 // settings.hours} field(s) a day are a snapshot rather than a daily mean; "
                     "prepare_era5_land.py needs --min-hours-per-day to take them")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- the service
class _Service(NamedTuple):
    """The client of the service, logged in; the key, to keep it out of messages."""

    client: cdsapi.api.Client
    product: _Product
    url: str
    key: str


ACCOUNT = (f"Make a free account at {SERVICE}, copy the personal access token from {SERVICE}/profile and write the two "
           f"lines 'url: {SERVICE}/api' and 'key: <token>' to ~/.cdsapirc (or set CDSAPI_URL and CDSAPI_KEY).")


def connect(product: _Product) -> _Service:
    """Log in, or say in one sentence why not, in seconds.

    Parameters
    ----------
    product : _Product

    Returns
    -------
    _Service

    Raises
    ------
    UserError
        No account, a wrong token, no network, a service that is down.
    """
    try:
        url, key, verify = cdsapi.api.get_url_key_verify(None, None, None)
    except Exception:  # the client raises no class of its own
        raise UserError(f"no account of the Climate Data Store was found. {ACCOUNT}") from None
    url, key = url.strip().rstrip("/"), key.strip()
    if ":" in key or not key.isascii() or not key.isprintable() or not key:
        raise UserError("the key of the account is not a personal access token (one word; the old 'number:key' no "
                        f"longer works). {ACCOUNT}")
    if not url.startswith(("https://", "http://")):
        raise UserError(f"the url of the account is {url!r}; it must be {SERVICE}/api.")
    logging.getLogger("multiurl").setLevel(logging.CRITICAL + 1)  # what matters is said by the bar and the errors

    def be_quiet(*_args, **_more):
        pass

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client asks for news of the service: no matter if they do not come
        client = cdsapi.api.Client(url, key, quiet=True, verify=verify, timeout=FIRST_TIMEOUT, progress=False,
                                   delete=False, retry_max=1, sleep_max=1, wait_until_complete=False,
                                   info_callback=be_quiet, warning_callback=be_quiet, error_callback=be_quiet,
                                   debug_callback=be_quiet)
    service = _Service(client, product, url, key)
    try:
        patiently(client.client.check_authentication, service, FIRST_WAITS, lost=False)
    except RequestFailed as failure:
        raise UserError(f"{url} does not answer as the Climate Data Store does ({failure}). Check the url of the "
                        f"account, which must be {SERVICE}/api, and the log-in of your network.") from None
    client.client.timeout = TIMEOUT
    return service


def patiently(call: Callable[[], Any], service: _Service, waits: Sequence[float], lost: bool = True,
              pause: Callable[[float], None] = time.sleep) -> Any:
    """Call the service; where it is busy, or the network is lost, wait and try again.

    Parameters
    ----------
    call : function
    service : _Service
    waits : sequence of float
        Seconds before each new try.
    lost : bool
        Wait for a lost network too.
    pause : function of seconds

    Returns
    -------
    What `call` returns.

    Raises
    ------
    UserError, RequestFailed
        See `explain`.
    """
    for seconds in (*waits, None):
        try:
            return call()
        except (requests.RequestException, ProcessingFailedError, LinkError, LookupError, AssertionError) as error:
            again = _status(error) in BUSY or lost and _network_lost(error)
            if seconds is None or not again:
                raise explain(error, service) from None
        pause(seconds)


def _status(error):
    return error.response.status_code if isinstance(error, requests.HTTPError) else None


def _network_lost(error):
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)) \
        and not isinstance(error, requests.exceptions.SSLError)


def explain(error: Exception, service: _Service) -> Exception:
    """An error of the client in one sentence with what to do.

    Parameters
    ----------
    error : Exception
    service : _Service

    Returns
    -------
    UserError or RequestFailed
        UserError: no request can be answered. RequestFailed: this one cannot.
    """
    status, reason = _status(error), reason_of(error, service.key)
    page = f"{SERVICE}/datasets/{service.product.dataset}?tab=download#manage-licences"
    if status == 401:
        return UserError(f"the service refuses the key of the account (401). {ACCOUNT}")
    if status == 403 and "licence" in reason.lower():
        return UserError(f"the licence of {service.product.dataset} is not accepted yet. Log in, accept it once at "
                         f"{page} and start again.")
    if status in BUSY and status != 500:
        return UserError(f"the service is busy or under maintenance ({status}). Look at https://status.ecmwf.int and "
                         "start again later.")
    if isinstance(error, requests.exceptions.SSLError):
        return UserError(f"the certificate of {service.url} is not trusted. Check the clock of this computer and its "
                         "proxy, and start again.")
    if _network_lost(error):
        return UserError(f"no answer from {service.url}. Check the network (and the proxy, HTTPS_PROXY) and start "
                         "again.")
    return RequestFailed(reason)


def reason_of(error: Exception, key: str) -> str:
    """What the service gives as reason, in one line of at most 300 characters and without the key."""
    lines = str(error).splitlines() or [type(error).__name__]
    if isinstance(error, requests.HTTPError) and len(lines) > 1:
        lines = lines[1:]  # the first says the status and the address
    if not isinstance(error, (requests.RequestException, ProcessingFailedError)):
        lines.insert(0, "an answer of the service was not understood:")
    text = " ".join(" ".join(lines).split()).replace(key, "(key)")
    return text if len(text) <= 300 else f"{text[:145]} ... {text[-145:]}"


# ---------------------------------------------------------------------------------------------------------- the work
class Progress:
    """State of each request at the service and bytes received, from several threads."""

    def __init__(self):
        self.states = {}
        self.received = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def say(self, item: _Item, state: str) -> None:
        """Note the state of an item; None: it is done."""
        with self._lock:
            self.states.pop(item.name, None)
            if state:
                self.states[item.name] = state

    def add_bytes(self, number: int) -> None:
        """Count bytes as they come in; breaks off where the run is ending."""
        self.pause(0)
        with self._lock:
            self.received += number

    def pause(self, seconds: float) -> None:
        """Wait; breaks off where the run is ending."""
        if self._stop.wait(seconds):
            raise _Stopped

    def stop(self) -> None:
        """End all waiting and downloading."""
        self._stop.set()

    def summary(self) -> str:
        """Such as "2 queued, 1 running"."""
        with self._lock:
            states = list(self.states.values())
        return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def fetch_requests(missing: list[_Item], settings: Any, service: _Service) -> None:
    """Make the requests, a few at once; a request that fails does not stop the others.

    Parameters
    ----------
    missing : list of _Item
    settings : Settings
    service : _Service

    Raises
    ------
    UserError
        At the end, where files are missing; at once, where no request can be answered.
    """
    progress, failed = Progress(), []
    with progress_bar(total=len(missing), desc="downloading", unit="file") as bar, \
            ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(fetch, item, settings.box, service, progress): item for item in missing}
        try:
            while running:
                done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    item = running.pop(future)
                    try:
                        future.result()
                    except RequestFailed as failure:
                        failed.append(item.name)
                        bar.write(f"error: {item.name}: {failure}", file=sys.stderr)
                    bar.update()
                _show(bar, progress)
        except BaseException as error:
            progress.stop()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, (UserError, OSError)):
                reason = error if isinstance(error, UserError) else f"{item.path}: {error.strerror or error}"
                left = 1 + len(failed) + sum(future.cancelled() or bool(future.exception()) for future in running)
                raise UserError(f"{reason} ({left} of {len(missing)} requests are left; {RESUME_FILES})") from None
            raise
    if failed:
        raise UserError(f"{len(failed)} of {len(missing)} requests brought no whole file: {', '.join(sorted(failed))}. "
                        f"The reasons stand above; the others are kept, {RESUME_FILES}.")


def _show(bar, progress):
    """Bytes and states behind the bar; a log file gets a line only where a state changes."""
    states = progress.summary()
    if sys.stderr.isatty() or states != getattr(bar, "states", None):
        bar.states = states
        bar.set_postfix_str(", ".join(filter(None, (format_bytes(progress.received), states))))


def fetch(item: _Item, box: tuple[float, float, float, float], service: _Service, progress: Progress) -> None:
    """Bring one file: ask, wait, download under a temporary name, look into it, give it its name, write its note.

    Parameters
    ----------
    item : _Item
    box : tuple of 4 float
    service : _Service
    progress : Progress

    Raises
    ------
    UserError, RequestFailed
        See `explain`. Fields that are missing in what was delivered: RequestFailed, the file is kept.
    """
    for half_written in item.path.parent.glob(f".{item.name}.*.*"):
        half_written.unlink()  # of a run that was killed
    request = request_of(item, box, service.product)
    waits = iter(WAITS)
    while True:
        remote, is_new = submit(item, request, service, progress)
        try:
            await_job(item, remote, service, progress)
            stamps = download_result(item, remote, service, progress)
            break
        except RequestFailed as failure:
            note = read_note(item.path)
            note.pop("job", None)
            write_note(item.path, note)
            seconds = next(waits, None)
            too_many = "limited" in str(failure)  # "Number of queued requests ... is temporarily limited"
            if seconds is None or is_new and not too_many:
                raise
            progress.say(item, "waiting")
            progress.pause(seconds if too_many else 0)
        finally:
            progress.say(item, None)
    days = [day for day in item.days if item.variable == MASK or all(
        datetime(day.year, day.month, day.day, hour) in stamps for hour in item.hours)]
    write_note(item.path, {"dataset": service.product.dataset, "variable": item.variable, "area": list(box),
                           "days": [str(day) for day in days], "hours": list(item.hours),
                           "bytes": item.path.stat().st_size})
    if len(days) < len(item.days):
        raise RequestFailed(f"the fields of {len(item.days) - len(days)} of {len(item.days)} days are missing in what "
                            "the service delivered; the rest is kept, the days are asked for again next time")


def submit(item: _Item, request: dict, service: _Service, progress: Progress) -> tuple[Any, bool]:
    """Ask for a file, or find the same request of an earlier run, which may still be with the service.

    Returns
    -------
    remote : ecmwf.datastores.Remote
    is_new : bool
    """
    def call(function):
        return patiently(function, service, WAITS, pause=progress.pause)

    progress.say(item, "asking")
    note = read_note(item.path)
    job = note.get("job", {})
    if job.get("request") == json.loads(json.dumps(request)):
        try:
            return call(lambda: service.client.client.get_remote(job["id"])), False
        except RequestFailed:
            pass  # the service keeps requests for some days only
    remote = call(lambda: service.client.retrieve(service.product.dataset, request))
    write_note(item.path, note | {"job": {"id": remote.request_id, "request": request}})
    return remote, True


def await_job(item: _Item, remote: Any, service: _Service, progress: Progress) -> None:
    """Wait until the service has made the file, for hours if need be."""
    seconds: float = POLL_SECONDS[0]
    while True:
        state = patiently(lambda: remote.status, service, WAITS, pause=progress.pause)
        if state not in ("accepted", "running"):
            return
        progress.say(item, "queued" if state == "accepted" else state)
        progress.pause(seconds)
        seconds = min(seconds * 1.5, POLL_SECONDS[1])


def download_result(item: _Item, remote: Any, service: _Service, progress: Progress) -> set[datetime]:
    """Transfer the file, under a temporary name until it is whole; a transfer that breaks off is resumed.

    Returns
    -------
    set of datetime
        Time stamps in the file.
    """
    class CountedBytes(NoBar):
        def update(self, number):
            progress.add_bytes(number)

    results = patiently(remote.get_results, service, WAITS, pause=progress.pause)
    results.retry_options = RESUME_TRANSFER
    results.download_options = {"progress_bar": CountedBytes}
    progress.say(item, "downloading")
    with replacing(item.path) as temporary:
        try:
            patiently(lambda: results.download(str(temporary)), service, ())
        except (DownloadError, FileNotFoundError) as error:
            raise RequestFailed(f"the file was not delivered whole ({reason_of(error, service.key)})") from None
        try:
            return look_into(temporary)[0]
        except OSError as error:
            raise RequestFailed(f"the file that was delivered is damaged ({error.strerror or error})") from None


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
