#!/usr/bin/env python3
"""Serves the landing page and the shop of this directory on an origin of their own, for a service that runs elsewhere.

    deploy/demo/serve.py [--port 7090] http://127.0.0.1:7080

Needs Python 3 and nothing else. Listens on loopback only.
"""

import argparse
import http.server
import pathlib
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
FILES = {f"/{file.name}": file for file in HERE.iterdir() if file.suffix in TYPES}


class Pages(http.server.BaseHTTPRequestHandler):
    """The files of this directory, in which the scripts come from the service."""

    service = ""

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        file = FILES.get("/landing.html" if path == "/" else path)
        if file is None:
            self.send_error(404)
            return
        body = file.read_text(encoding="utf-8")
        if file.suffix == ".html":
            body = body.replace('src="/', f'src="{self.service}/')
        body = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", TYPES[file.suffix])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Addresses may have packages in them: nothing is logged."""


def origin(text):
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin such as http://127.0.0.1:7080")
    return f"{parts.scheme}://{parts.netloc}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("service", type=origin, help="origin of the service, such as http://127.0.0.1:7080")
    arguments.add_argument("--port", type=int, default=7090, help="port to listen on; 0: any")
    asked = arguments.parse_args()
    Pages.service = asked.service
    with http.server.ThreadingHTTPServer(("127.0.0.1", asked.port), Pages) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
