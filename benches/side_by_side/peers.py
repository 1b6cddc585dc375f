"""Requests as the peers take them, byte for byte, and the few calls that prepare a row."""

import base64
import hashlib
import hmac
import json
import struct
import urllib.request


def get(path):
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def post(path, kind, body, more=""):
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def introspection(client_id, client_secret, token):
    known = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
    form = "application/x-www-form-urlencoded"
    return post("/oauth/introspect", form, f"token={token}".encode(), f"authorization: Basic {known}\r\n")


def redis(*words):
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


def frame(sessions_file):
    """A signed heartbeat of the first session of a file."""
    with open(sessions_file) as sessions:
        session = json.loads(sessions.readline())
    # Version 1, a beat, no state, number 1, the session, meter time 0.
    body = struct.pack("<BBHI16sQ", 1, 1, 0, 1, decoded(session["session_id"]), 0)
    return body + hmac.digest(decoded(session["heartbeat_key"]), body, hashlib.sha256)[:16]


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def activate(addr, key):
    """A token, by an account key."""
    request = urllib.request.Request(f"http://{addr}/v1/activate", data=b"", headers={"Authorization": f"Bearer {key}"})
    return json.loads(opened(request))["token"]


def largest_list(addr):
    """The path of the longest status list there is."""
    lists = json.loads(fetch(addr, "/oauth/status"))["status_lists"]
    return max(("/" + uri.split("/", 3)[3] for uri in lists), key=lambda path: len(fetch(addr, path)))


def fetch(addr, path):
    return opened(f"http://{addr}{path}")


def opened(request):
    # The machine's proxies are not for loopback.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return answer.read()
