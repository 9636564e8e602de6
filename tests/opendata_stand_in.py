"""A stand-in of ECMWF open data on the loopback address: files of GRIB with an index beside each, served in byte ranges.

Layout of names and index: https://confluence.ecmwf.int, "ECMWF open data: real-time forecasts". Like the object stores that
keep copies it answers one range a request.
"""
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from grib_writer import rain, temperature, wind


class Archive:
    """What is there and what was asked: set the attributes before or while it runs."""

    def __init__(self, starts, steps, members=50, one_control=True):
        self.files = {}  # path -> content
        self.asked = []  # (method, path)
        self.broken = None  # part of a path that is answered with this status
        self.status = 503
        self.cut = 0  # transfers that break off in the middle
        self.page = False  # a web page in place of everything
        for start in starts:
            for step in steps:
                self.add(start, step, "oper", "fc", [None])
                numbers = range(1, members + 1) if one_control else range(members + 1)
                self.add(start, step, "enfo", "ef", numbers)

    def add(self, start, step, stream, kind, numbers):
        """Fields of one step; rain falls at 1 + member mm h-1, the temperature is 280 K + hour of the day."""
        content, index = b"", []
        for number in numbers:
            rate, hour = 1 + (number or 0), (int(start[-2:]) + step) % 24
            fields = {"u": wind(start, step), "2t": temperature(280 + hour, start, step, number)}
            if step:
                fields["tp"] = rain(rate * step / 1000, start, 0, step, number)
            for param, message in fields.items():
                of_type = {"ef": "pf" if number else "cf"}.get(kind, kind)
                entry = {"date": start[:10].replace("-", ""), "time": start[-2:] + "00", "type": of_type, "stream": stream,
                         "step": str(step), "levtype": "sfc", "param": param, "_offset": len(content), "_length": len(message)}
                index.append(entry | ({"number": str(number)} if number else {}))
                content += message
        day, hour = start[:10].replace("-", ""), start[-2:]
        name = f"/{day}/{hour}z/ifs/0p25/{stream}/{day}{hour}0000-{step}h-{stream}-{kind}"
        self.files[f"{name}.grib2"] = content
        self.files[f"{name}.index"] = "\n".join(map(json.dumps, index)).encode()

    def fetched(self):
        """Paths whose content was transferred, sorted."""
        return sorted({path for method, path in self.asked if method == "GET" and path.endswith(".grib2")})


class _Answer(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def version_string(self):
        return "AmazonS3"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(False)

    def do_GET(self):
        self._answer(True)

    def _answer(self, with_body):
        archive = self.server.archive
        archive.asked.append((self.command, self.path))
        content = archive.files.get(self.path)
        if archive.broken and archive.broken in self.path:
            return self._send(archive.status, b"no", with_body)
        if content is None:
            return self._send(404, b"no such key", with_body)
        wanted = self._range(content)
        if archive.page and wanted:
            page = b"<html>log in</html>" * len(content)
            return self._send(206, page[:wanted.stop - wanted.start], with_body, wanted, len(content))
        if wanted is None:
            return self._send(200, content, with_body)
        return self._send(206, content[wanted], with_body, wanted, len(content))

    def _range(self, content):
        text = self.headers.get("Range")
        if not text:
            return None
        first, last = text.removeprefix("bytes=").split(",")[0].split("-")
        return slice(int(first), min(int(last) + 1, len(content)))

    def _send(self, status, content, with_body, wanted=None, total=0):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {wanted.start}-{wanted.stop - 1}/{total}")
        self.end_headers()
        if with_body:
            cut = wanted is not None and self.server.archive.cut > 0
            self.server.archive.cut -= cut
            self.wfile.write(content[:len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # the client went away


@contextmanager
def running_archive(*arguments, **more):
    """Run an `Archive` on a free port; its `address` is what `source` must be."""
    server = _Server(("127.0.0.1", 0), _Answer)
    server.archive = Archive(*arguments, **more)
    server.archive.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True).start()
    try:
        yield server.archive
    finally:
        server.shutdown()
        server.server_close()
