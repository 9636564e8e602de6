"""A small stand-in of NASA Earthdata on the loopback address: log-in, catalogue, data centre and its storage.

It is the proxy of the environment (HTTPS_PROXY), so the real client asks for the real addresses and none of them is
ever contacted; a throw-away certificate for their names is trusted by way of REQUESTS_CA_BUNDLE. What it imitates: the
token for a password (Earthdata Login), the search for granules and the header CMR-Hits (CMR), the redirect of the
data centre to storage with a signed address that takes no token (Cumulus, thin egress app), parts of files.
"""
import base64
import json
import re
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

LOGIN, CATALOGUE = "urs.earthdata.nasa.gov", "cmr.earthdata.nasa.gov"
DATA, STORAGE = "data.nsidc.earthdatacloud.nasa.gov", "storage.cloudfront.net"
USER, PASSWORD, TOKEN = "hydrologist", "pass-4711-word", "eyToken-0815-secret"
SIGNATURE = "Signature-2718-secret"


def make_certificate(folder):
    """A self-signed certificate for the names above; returns the paths of certificate and key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ",".join(f"DNS:{name}" for name in (LOGIN, CATALOGUE, DATA, STORAGE))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=stand-in", "-addext", f"subjectAltName={names}",
                    "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


class EarthdataStandIn:
    """The services; how they behave is set by the attributes.

    Attributes
    ----------
    files : dict
        Name of a granule -> its bytes.
    told_sizes : dict
        Name -> size in the catalogue, where it is not the file's.
    fault : str
        "", "password" (refused), "token" (refused), "licence" (not accepted), "application" (not approved), "down",
        "catalogue down", "portal" (a web page instead of all), "page" (a web page instead of a file), "whole" (parts
        of files are not known).
    breaks : dict
        Name -> how many transfers end in the middle.
    seconds : float
        Between two parts of 64 kB of a file.
    log : list of (method, host, path or query, range)
    sent : int
        Bytes of files that were sent.
    busiest : int
        Most transfers at a time.
    """

    def __init__(self, certificate, key):
        self.files, self.told_sizes, self.breaks, self.fault, self.seconds = {}, {}, {}, "", 0.0
        self.log, self.sent, self.busy, self.busiest = [], 0, 0, 0
        self.lock = threading.Lock()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.stand_in = self
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        """Answer no more."""
        self.server.shutdown()
        self.server.server_close()

    def transfers(self):
        """Names (and ranges) of the files that were asked of the storage."""
        return [(path.rpartition("/")[2], part) for method, host, path, part in self.log if host == STORAGE]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = None

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.host = self.path.partition(":")[0]
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.server.stand_in.context.wrap_socket(self.connection, server_side=True)
        except OSError:
            self.close_connection = True
            return
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_POST(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:  # the client is gone
            self.close_connection = True

    def finish(self):
        super().finish()
        self.connection.close()

    def _answer(self):
        state, url = self.server.stand_in, urlparse(self.path)
        with state.lock:
            query = url.query if self.host == CATALOGUE else ""
            state.log.append((self.command, self.host, query or url.path, self.headers.get("Range")))
        if state.fault == "down":
            return self._send(503, "text/html", b"<html>maintenance</html>")
        if state.fault == "portal":
            return self._send(200, "text/html", b"<html>welcome to the airport</html>")
        services = {LOGIN: self._login, CATALOGUE: self._catalogue, DATA: self._data, STORAGE: self._storage}
        return services[self.host](url)

    def _send(self, status, kind, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, status, content, **headers):
        self._send(status, "application/json", json.dumps(content).encode(), **headers)

    def _has_token(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}" and self.server.stand_in.fault != "token"

    def _login(self, url):
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if url.path == "/oauth/authorize":
            return self._send(200, "text/html", b"<html>Earthdata Login: approve application</html>")
        if self.server.stand_in.fault == "password" or self.headers.get("Authorization") != wanted:
            return self._json(401, {"error": "invalid_credentials", "login": f"{USER} {PASSWORD}"})
        return self._json(200, {"access_token": TOKEN, "token_type": "Bearer", "expiration_date": "12/31/2030"})

    def _catalogue(self, url):
        state, query = self.server.stand_in, parse_qs(url.query)
        if state.fault == "catalogue down":
            return self._send(503, "text/html", b"<html>maintenance</html>")
        if not self._has_token():
            return self._json(401, {"errors": [f"Token {self.headers.get('Authorization')} does not exist"]})
        first, last = (text[:10].replace("-", "") for text in query["temporal[]"][0].split(","))
        names = [name for name in sorted(state.files) if first <= name[15:23] <= last
                 and name[33] == query["version"][0][-1] and query["short_name"] == ["SPL4SMGP"]]
        items = [self._granule(name) for name in names[:int(query["page_size"][0])]]
        return self._json(200, {"hits": len(names), "items": items}, CMR_Hits=len(names))

    def _granule(self, name):
        state = self.server.stand_in
        folder = f"nsidc-cumulus-prod-protected/SMAP/SPL4SMGP/008/{name[15:19]}/{name[19:21]}"
        links = [("GET DATA", f"https://{DATA}/{folder}/{name}.qa"), ("GET DATA", f"https://{DATA}/{folder}/{name}"),
                 ("GET DATA VIA DIRECT ACCESS", f"s3://{folder}/{name}")]
        size = state.told_sizes.get(name, len(state.files[name]))
        sizes = [{"Name": f"{name}.qa", "SizeInBytes": 7, "Size": 0.0, "SizeUnit": "MB"},
                 {"Name": name, "SizeInBytes": size, "Size": size / 2 ** 20, "SizeUnit": "MB"}]
        return {"meta": {"concept-id": f"G{name}", "provider-id": "NSIDC_CPRD"},
                "umm": {"GranuleUR": name, "RelatedUrls": [{"Type": kind, "URL": url} for kind, url in links],
                        "DataGranule": {"ArchiveAndDistributionInformation": sizes}}}

    def _data(self, url):
        fault = self.server.stand_in.fault
        if fault == "licence":
            return self._json(403, {"error": "invalid_request", "error_description": "EULA Acceptance Failure"})
        if fault == "application" or not self._has_token():
            return self._send(302, "text/html", b"", Location=f"https://{LOGIN}/oauth/authorize?state={SIGNATURE}")
        if fault == "page":
            return self._send(200, "text/html", b"<html>maintenance</html>")
        return self._send(303, "text/plain", b"", Location=f"https://{STORAGE}{url.path}?signature={SIGNATURE}")

    def _storage(self, url):
        state, name = self.server.stand_in, url.path.rpartition("/")[2]
        if "Authorization" in self.headers or SIGNATURE not in url.query:
            return self._send(400, "application/xml", b"<Error>Only one auth mechanism allowed</Error>")
        if name not in state.files:
            return self._send(404, "application/xml", b"<Error>NoSuchKey</Error>")
        data, part = state.files[name], re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.send_response(206 if part and state.fault != "whole" else 200)
        start, stop = 0, len(data)
        if part and state.fault != "whole":
            start, stop = int(part[1]), min(int(part[2] or stop) + 1, stop)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with state.lock:
            state.breaks[name] = state.breaks.get(name, 0) - 1
            if state.breaks[name] >= 0:
                stop, self.close_connection = (start + stop) // 2, True
            state.busy += 1
            state.busiest = max(state.busiest, state.busy)
        try:
            for begin in range(start, stop, 65536):
                piece = data[begin:min(begin + 65536, stop)]
                self.wfile.write(piece)
                with state.lock:
                    state.sent += len(piece)
                time.sleep(state.seconds)
        finally:
            with state.lock:
                state.busy -= 1
