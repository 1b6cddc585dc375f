"""A sibling service: an application that knows nothing of OpenID, behind Apache with mod_auth_openidc."""

import http.server
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import sibling


class Application(http.server.BaseHTTPRequestHandler):
    """It reads who it is from the headers that Apache adds."""

    def do_GET(self):
        try:
            if self.path == "/check":
                self.answer(200, sibling.introspect(self.headers["OIDC_access_token"]))
            else:
                self.answer(200, {key: self.headers[f"OIDC_CLAIM_{key}"] for key in ("sub", "name", "email")})
        except Exception as error:
            self.answer(502, {"error": str(error)})

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
scratch, port = tempfile.TemporaryDirectory(), int(os.environ["PORT"])
of_apache = {
    "APPLICATION": str(server.server_port),
    "SCRATCH": scratch.name,
    "PASSPHRASE": secrets.token_hex(),
}
configuration = Path(__file__).with_name("apache.conf")
# From the directory of the tests: it is root's own, and Apache's processes are somebody else's.
apache = subprocess.Popen(
    ["/usr/sbin/apache2", "-D", "FOREGROUND", "-d", scratch.name, "-f", str(configuration)], env=os.environ | of_apache
)


# Apache says nothing when it listens.
def when_it_listens():
    while apache.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            threading.Event().wait(0.02)
    sys.exit("Apache has ended")


def end():
    apache.terminate()
    apache.wait()


when_it_listens()
sibling.run(server, f"http://127.0.0.1:{port}", end)
