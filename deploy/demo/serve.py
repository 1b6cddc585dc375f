#!/usr/bin/env python3
"""Serves the landing page and the shop of this directory on an origin of their own, for a service that runs elsewhere.

    deploy/demo/serve.py [--port 7095] [--shops shops.secrets] http://127.0.0.1:7080

With the secrets of a shop it is the shop platform, too: it signs what was bought and refunded, and tells the service.

Needs Python 3 and nothing else. Listens on loopback only.
"""

import argparse
import base64
import hashlib
import hmac
import http.server
import pathlib
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
TOPICS = {"/webhooks/orders/paid", "/webhooks/refunds/create"}
MOST_BYTES = 64 * 1024
FILES = {f"/{file.name}": file for file in HERE.iterdir() if file.suffix in TYPES}


class Pages(http.server.BaseHTTPRequestHandler):
    """The files of this directory, in which the scripts come from the service."""

    service = ""
    # The shop's domain and its secret, if there is a shop.
    shop = None

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

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        # Pages of other origins cannot send JSON without being asked first.
        is_ours = self.headers.get("Content-Type") == "application/json"
        if self.shop is None or self.path not in TOPICS or not is_ours or length > MOST_BYTES:
            self.send_error(404)
            return
        self.send_response(deliver(self.service, self.shop, self.path.removeprefix("/webhooks/"), self.rfile.read(length)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Addresses may have packages in them: nothing is logged."""


def deliver(service, shop, topic, body):
    """Tells the service as Shopify does. The status of the answer."""
    domain, secret = shop
    signature = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {"Content-Type": "application/json", "X-Shopify-Topic": topic}
    headers |= {"X-Shopify-Shop-Domain": domain, "X-Shopify-Hmac-Sha256": signature}
    request = urllib.request.Request(f"{service}/hooks/shopify", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 502


def shop_in(text):
    lines = [line.split() for line in pathlib.Path(text).read_text(encoding="utf-8").splitlines()]
    shops = [(line[0], line[1]) for line in lines if len(line) == 2 and not line[0].startswith("#")]
    if not shops:
        raise argparse.ArgumentTypeError(f"{text} has no line with a domain and a secret")
    return shops[0]


def origin(text):
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin such as http://127.0.0.1:7080")
    return f"{parts.scheme}://{parts.netloc}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("service", type=origin, help="origin of the service, such as http://127.0.0.1:7080")
    arguments.add_argument("--port", type=int, default=7095, help="port to listen on; 0: any")
    arguments.add_argument("--shops", type=shop_in, help="the service's file with secrets of shops: the first shop is this one")
    asked = arguments.parse_args()
    Pages.service, Pages.shop = asked.service, asked.shops
    with http.server.ThreadingHTTPServer(("127.0.0.1", asked.port), Pages) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
