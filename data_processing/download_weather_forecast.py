"""Download weather forecasts of ECMWF open data: rain and temperature of the coming days, 50 members and the control.

Reads   the open data of ECMWF, without an account, or the copies that cloud providers keep (--source aws, google, azure).
        ECMWF itself keeps the last few days; the clouds keep older ones. Licence: CC BY 4.0, name ECMWF as the source

Writes  data/weather/downloads/ecmwf_<date>_<hour>utc_<members>_<days>d_<hours>h.grib2, one file a start, global, 0.25
        degrees; data_processing/prepare_weather_forecast.py brings them onto the cells of a cube

Run     python data_processing/download_weather_forecast.py                                the newest forecast
        python data_processing/download_weather_forecast.py --first-day 2026-11-20 --last-day 2026-11-22

Expect  about 1 GB a start with 7 days and all members, 20 MB with --members 0. Stop at any time: the same command goes on,
        and fetches nothing twice.
"""
import contextlib
import io
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import requests
from ecmwf.opendata import Client
from requests.adapters import HTTPAdapter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_processing.errors import UserError
from data_processing.files import PROJECT, format_bytes, free_bytes, lock_folder, replacing
from data_processing.terminal import progress_bar
from data_processing.weather_fields import scan_file
from utils.command_line import OTHER_FOLDER, RESUME_FILES, run_script

SOURCES = ("ecmwf", "aws", "google", "azure")
ONE_CONTROL = date(2026, 5, 12)  # since IFS cycle 50r1 the control forecast is the single forecast (stream oper, type fc)
MEMBERS = 50
LAST_STEP, FINE_UNTIL = 360, 144  # h; beyond FINE_UNTIL steps are 6 h apart (ECMWF open data, 00 and 12 UTC)
FIELD_BYTES = 500_000  # of a packed map, roughly
TRIES, WAIT, TIMEOUT = 8, 15, 60  # where the service is busy: tries, s between them; s without an answer


@dataclass(frozen=True)
class Settings:
    # what
    first_day: str | None = None  # day of the first start, UTC; default: the newest forecast that is complete
    last_day: str | None = None  # of the last start; default: first_day
    time: Literal[0, 12] = 0  # hour of the start, UTC
    days: int = 7  # whole UTC days to come, 1 to 15 (14 from 12 UTC)
    hours: Literal[3, 6] = 6  # between two temperatures; rain is fetched from midnight to midnight
    members: int = MEMBERS  # perturbed members, besides the control forecast; 0: the single forecast alone
    source: str = "ecmwf"  # ecmwf, aws, google, azure, or an address that serves the same files
    # output
    folder: str = str(PROJECT / "data" / "weather" / "downloads")  # of the files


def main(settings: Any) -> None:
    check_request(settings)
    steps = wanted_steps(settings)
    with explained(settings, "that is complete"):
        client = open_client(settings)
        starts = wanted_starts(settings) or [client.latest(requests_of(settings, None)[-1] | {"step": max(steps),
                                                                                              "time": settings.time})]
    folder = Path(settings.folder).expanduser().absolute()
    paths = {start: folder / f"ecmwf_{start:%Y-%m-%d_%H}utc_{settings.members}_{settings.days}d_{settings.hours}h.grib2"
             for start in starts}
    missing = [start for start in starts if not paths[start].exists()]
    fields = (settings.members + 1) * sum(map(len, steps.values()))
    print(f"{len(starts)} forecasts, {starts[0]:%Y-%m-%d %H} UTC to {starts[-1]:%Y-%m-%d %H} UTC -> {folder}; "
          f"{len(starts) - len(missing)} are there\n{len(missing)} to download, {fields} fields each, together roughly "
          f"{format_bytes(len(missing) * fields * FIELD_BYTES)} ({format_bytes(free_bytes(folder))} free on the disk)",
          flush=True)
    lock_folder(folder, OTHER_FOLDER)
    with progress_bar(total=len(missing) * len(steps), desc="downloading", unit="step") as bar:
        for start in missing:
            fetch_start(start, steps, paths[start], client, settings, bar)
    print(f"all {len(starts)} files are in {folder}")


# ---------------------------------------------------------------------------------------------------- what is wanted
def check_request(settings: Any) -> None:
    """Refuse settings that the service could not answer."""
    longest = (LAST_STEP - -settings.time % 24) // 24
    if not 1 <= settings.days <= longest:
        raise UserError(f"days is {settings.days}; a forecast of {settings.time:02d} UTC holds 1 to {longest} whole days.")
    if not 0 <= settings.members <= MEMBERS:
        raise UserError(f"members is {settings.members}; the ensemble has 0 to {MEMBERS} besides the control forecast.")
    if settings.source not in SOURCES and not settings.source.startswith(("https://", "http://")):
        raise UserError(f"source is {settings.source!r}; it must be {', '.join(SOURCES)} or an address.")
    if settings.last_day and not settings.first_day:
        raise UserError("last_day is given without first_day; give both, or neither for the newest forecast.")


def wanted_starts(settings: Any) -> list[datetime]:
    """Starts asked for, list of datetime (UTC); empty: the newest."""
    days = []
    for name in ("first_day", "last_day"):
        text = getattr(settings, name) or settings.first_day
        try:
            days += [date.fromisoformat(text)] if text else []
        except ValueError:
            raise UserError(f"{name} is {text!r}; write a date such as 2026-11-20.") from None
    if days and days[0] > days[1]:
        raise UserError(f"first_day {days[0]} lies after last_day {days[1]}; exchange them.")
    return [datetime.combine(days[0] + timedelta(days=number), time(settings.time))
            for number in range((days[1] - days[0]).days + 1)] if days else []


def wanted_steps(settings: Any) -> dict[int, list[str]]:
    """Step (h) -> parameters: temperature every few hours, rain, which adds up from the start, at each midnight (UTC)."""
    lead_in = -settings.time % 24
    last = lead_in + 24 * settings.days
    steps = [step for step in range(lead_in, last + 1, settings.hours) if step <= FINE_UNTIL or step % 6 == 0]
    return {step: ["2t"] * (step < last) + ["tp"] * (step > 0 and (step - lead_in) % 24 == 0) for step in steps}


def requests_of(settings: Any, start: datetime | None) -> list[dict]:
    """What the client is asked for each step of a start: the control, then the other members."""
    single = settings.members == 0 or start is None or start.date() >= ONE_CONTROL
    control = {"stream": "oper", "type": "fc"} if single else {"stream": "enfo", "type": "cf"}
    others = {"stream": "enfo", "type": "pf", "number": list(range(1, settings.members + 1))}
    return [control, others] if settings.members else [control]


# ------------------------------------------------------------------------------------------------------- the service
class _Patience(HTTPAdapter):
    """Gives up a connection on which nothing comes; the client itself would wait for ever."""

    def send(self, *args: Any, **options: Any) -> Any:
        return super().send(*args, **options | {"timeout": options.get("timeout") or TIMEOUT})


def open_client(settings: Any) -> Any:
    """The client of the service; until its first answer it tries once, so that no network is known at once."""
    for name in ("multiurl", "ecmwf.opendata"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what matters is said by the bar and the errors
    client = Client(source=settings.source, maximum_retries=1, retry_after=WAIT)
    for scheme in ("https://", "http://"):
        client.session.mount(scheme, _Patience())
    return client


@contextlib.contextmanager
def explained(settings: Any, what: str) -> Iterator[None]:
    """Turn errors of the client into one sentence with what to do."""
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code
        if status in (403, 404):
            raise UserError(f"{settings.source} has no forecast {what} ({status}). It comes 7 to 10 hours after its start; ECMWF "
                            "keeps it for a few days only, --source aws for longer.") from None
        raise UserError(f"{settings.source} does not deliver the forecast {what} ({status}): it is busy or under maintenance. "
                        f"Start again later, or try another --source ({', '.join(SOURCES)}); {RESUME_FILES}.") from None
    except (requests.ConnectionError, requests.Timeout):
        raise UserError(f"no answer from {settings.source} (forecast {what}). Check the network (and the proxy, HTTPS_PROXY); "
                        f"{RESUME_FILES}.") from None
    except (requests.RequestException, AssertionError, LookupError) as error:
        raise UserError(f"{settings.source} did not deliver the forecast {what}, whole ({error}); {RESUME_FILES}.") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{settings.source} has no forecast {what} ({' '.join(str(error).split())[:150]}). Take another day, "
                        "time or --source.") from None


def fetch_start(start: datetime, steps: dict[int, list[str]], path: Path, client: Any, settings: Any, bar: Any) -> None:
    """Bring one start: the fields of each step into hidden files, which are kept if the run stops, then all into one."""
    for half_written in (*path.parent.glob(f".{path.stem}.[0-9]*"), *path.parent.glob(f"..{path.stem}.*")):
        half_written.unlink()  # of a run that was killed
    parts = []
    for step, parameters in steps.items():
        for number, request in enumerate(requests_of(settings, start)):
            part = path.with_name(f".{path.stem}.step{step:03d}.{number}.grib2")
            parts.append(part)
            if part.exists():
                continue
            request |= {"date": f"{start:%Y-%m-%d}", "time": settings.time, "step": step, "param": parameters}
            what = f"of {start:%Y-%m-%d %H} UTC, step {step} h"
            with replacing(part) as temporary:
                lacking = len(parameters) * len(request.get("number", "1")) - retrieve(client, request, temporary, settings, what)
            if lacking:
                bar.write(f"warning: the forecast {what}, came without {lacking} fields of members", file=sys.stderr)
        bar.update()
    with replacing(path) as temporary, open(temporary, "wb") as whole:
        for part in parts:
            with open(part, "rb") as content:
                shutil.copyfileobj(content, whole, 2 ** 20)
    for part in parts:
        part.unlink()


def retrieve(client: Any, request: dict, path: Path, settings: Any, what: str) -> int:
    """Download the fields of one request; how many they are."""
    with explained(settings, what), contextlib.redirect_stderr(io.StringIO()):  # the client draws a bar for each file
        for tries_left in range(TRIES)[::-1]:
            try:
                client.retrieve(request, target=str(path))
                break
            except (requests.exceptions.ChunkedEncodingError, AssertionError):  # the transfer broke off
                if not tries_left:
                    raise
    client.maximum_retries = TRIES
    try:
        return len(scan_file(path).fields)
    except UserError as error:
        raise UserError(f"{settings.source} did not deliver the forecast {what}: {str(error).split(': ', 1)[-1]}") from None


if __name__ == "__main__":
    run_script(main, Settings, resume=RESUME_FILES)
