"""A small stand-in of the Climate Data Store on the loopback address, for tests with the real `cdsapi` client.

It speaks what cdsapi 0.7.7 (ecmwf-datastores-client 0.5.3) speaks: log-in check, request, state of the job, results,
transfer with ranges. What it does wrong is set by attributes of `Store`.
"""
import itertools
import json
import os
import re
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import netCDF4
import numpy as np

from data_processing.download_era5_land import NETCDF_LOCK

TOKEN = "5f0c9a1e-secret-token-of-the-tests"


class Store:
    """What the service knows, does wrong, and was asked."""

    def __init__(self):
        self.address = None  # "http://127.0.0.1:<port>", while it runs
        self.token = TOKEN
        self.licence_accepted = True
        self.states = ["accepted", "running", "successful"]  # that a job shows, one at each question; the last stays
        self.failure = lambda inputs: None  # inputs -> reason why the job fails, or None
        self.refusal = lambda inputs: None  # inputs -> (status, title, detail) of a refusal when asked, or None
        self.content = lambda dataset, inputs: month_file(inputs)  # -> bytes that are delivered
        self.busy = 0  # how many questions in a row are answered by `busy_status`, after the log-in
        self.busy_status = 503
        self.down = False  # connections are closed without an answer
        self.cuts = 0  # how many transfers break off in the middle
        self.ranges = True  # a transfer can be resumed
        self.slice_seconds = 0  # pause before every 16 kB of a transfer
        self.asked = []  # (data set, inputs) of each request
        self.seen = []  # (method, path, headers with names in lower case) of each question
        self.jobs = {}  # id -> dict
        self.lock = threading.Lock()
        self.released = threading.Event()  # set when the server closes: nothing is answered any more

    @property
    def transfers(self):
        """Ranges of the transfers that were started: None for whole files."""
        return [headers.get("range") for method, path, headers in self.seen
                if method == "GET" and path.startswith("/store/")]


def month_file(inputs, area_steps=2, stamps=None):
    """Bytes of a NetCDF file as the new service delivers it, with a few cells at the edges of the area.

    Parameters
    ----------
    inputs : dict
        The request.
    area_steps : int
        Cells in each direction.
    stamps : slice, optional
        Only these of the time stamps asked for.

    Returns
    -------
    bytes
    """
    fields = {"volumetric_soil_water_layer_1": ("swvl1", "m**3 m**-3", 0.25), "total_precipitation": ("tp", "m", 2e-3),
              "soil_temperature_level_1": ("stl1", "K", 280), "land_sea_mask": ("lsm", "(0 - 1)", 1)}
    name, units, value = fields[inputs["variable"][0]]
    seconds = [np.datetime64(f"{inputs['year']}-{inputs['month'][0]}-{day}T{time}", "s").astype(int)
               for day in inputs["day"] for time in inputs["time"]][stamps or slice(None)]
    north, west, south, east = inputs["area"]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "data.nc")
        with NETCDF_LOCK, netCDF4.Dataset(path, "w") as data:
            for dimension, values in (("valid_time", seconds), ("latitude", np.linspace(north, south, area_steps)),
                                      ("longitude", np.linspace(west, east, area_steps))):
                data.createDimension(dimension, len(values))
                data.createVariable(dimension, "i8" if dimension == "valid_time" else "f8", (dimension,))[:] = values
            data["valid_time"].units = "seconds since 1970-01-01"
            data.createVariable(name, "f4", ("valid_time", "latitude", "longitude"))[:] = value
            data[name].units = units
        return Path(path).read_bytes()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # answers leave at once

    def log_message(self, *_):
        pass

    @property
    def store(self):
        return self.server.store

    def do_GET(self):
        self._route("GET")

    def do_HEAD(self):
        self._route("HEAD")

    def do_POST(self):
        self._route("POST")

    def _route(self, method):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        store = self.store
        if store.down or store.released.is_set():
            self.close_connection = True
            return
        with store.lock:
            store.seen.append((method, path, {name.lower(): value for name, value in self.headers.items()}))
            if path.startswith("/api/retrieve") and store.busy > 0:
                store.busy -= 1
                return self._refuse(store.busy_status, "busy", "Please wait.")
        if path.startswith("/store/"):
            return self._transfer(method, path)
        if path == "/api/catalogue/v1/messages":
            return self._json(200, {"messages": [{"severity": "info", "content": "news of the service"}]})
        if not path.startswith(("/api/profiles/v1/", "/api/retrieve/v1/")):
            return self._refuse(404, "Not Found", "")
        if self.headers.get("PRIVATE-TOKEN") != store.token:
            return self._refuse(401, "authentication failed", f"operation not allowed {self.headers['PRIVATE-TOKEN']}")
        if path == "/api/profiles/v1/account/verification/pat":
            return self._json(200, {"id": 1, "role": "user"})
        if match := re.fullmatch("/api/retrieve/v1/processes/([a-z0-9-]+)(/execution)?", path):
            if match[2]:
                return self._ask(match[1], json.loads(body)["inputs"])
            return self._json(200, {"id": match[1], "links": []})
        if (match := re.fullmatch("/api/retrieve/v1/jobs/([a-z0-9-]+)(/results)?", path)) and match[1] in store.jobs:
            return self._results(match[1]) if match[2] else self._state(match[1])
        return self._refuse(404, "job not found", path)

    def _ask(self, dataset, inputs):
        store = self.store
        if not store.licence_accepted:
            return self._refuse(403, "required licences not accepted", "Not all the required licences have been "
                                f"accepted; please visit {store.address}/datasets/{dataset}?tab=download")
        if refusal := store.refusal(inputs):
            return self._refuse(*refusal)
        with store.lock:
            store.asked.append((dataset, inputs))
            job = f"job-{len(store.asked)}"
            failure = store.failure(inputs)
            states = store.states[:-1] + ["failed"] if failure else store.states
            store.jobs[job] = {"dataset": dataset, "inputs": inputs, "failure": failure, "content": None,
                               "states": itertools.chain(states, itertools.repeat(states[-1])), "state": states[0]}
        self._json(201, self._job(job, "accepted"))

    def _job(self, job, state):
        here = f"{self.store.address}/api/retrieve/v1/jobs/{job}"
        links = [{"rel": "monitor", "href": here}, {"rel": "self", "href": here}]
        if state == "successful":
            links.append({"rel": "results", "href": f"{here}/results"})
        return {"jobID": job, "processID": self.store.jobs[job]["dataset"], "status": state, "type": "process",
                "links": links, "metadata": {"log": []}}

    def _state(self, job):
        with self.store.lock:
            known = self.store.jobs[job]
            if "log=True" in self.path:  # that is how the client asks for the state
                known["state"] = next(known["states"])
            state = known["state"]
        self._json(200, self._job(job, state))

    def _results(self, job):
        known = self.store.jobs[job]
        if known["state"] in ("failed", "rejected"):
            return self._json(400, {"type": "job results failed", "title": f"The job has {known['state']}",
                                    "status": 400, "traceback": known["failure"] or "no reason"})
        with self.store.lock:
            if known["content"] is None:
                known["content"] = self.store.content(known["dataset"], known["inputs"])
        href = f"{self.store.address}/store/{job}.nc"
        self._json(200, {"asset": {"value": {"type": "application/netcdf", "href": href,
                                             "file:size": len(known["content"])}}})

    def _transfer(self, method, path):
        store = self.store
        content = store.jobs[Path(path).stem]["content"]
        start = 0
        if store.ranges and (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(match[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if store.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if method == "HEAD":
            return
        with store.lock:
            cut = store.cuts > 0
            store.cuts -= cut
        end = start + (len(content) - start) // 2 if cut else len(content)
        try:
            for place in range(start, end, 16384):
                store.released.wait(store.slice_seconds)
                self.wfile.write(content[place:min(place + 16384, end)])
                self.wfile.flush()
        except ConnectionError:
            pass
        if cut:
            self.close_connection = True

    def _refuse(self, status, title, detail):
        self._json(status, {"type": title, "title": title, "status": status, "detail": detail})

    def _json(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # the client went away


@contextmanager
def running_store(**attributes):
    """Run a stand-in on a free port of the loopback address.

    Parameters
    ----------
    **attributes
        Of `Store`.

    Yields
    ------
    Store
        Its `address` + "/api" is what CDSAPI_URL must be.
    """
    store = Store()
    for name, value in attributes.items():
        if not hasattr(store, name):
            raise AttributeError(name)
        setattr(store, name, value)
    server = _Server(("127.0.0.1", 0), _Answer)
    server.store = store
    store.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.released.set()
        server.shutdown()
        server.server_close()
