"""What the siblings in Python have in common: where they listen, how long they live, and how they ask the hub about a handle.

A sibling is started with ISSUER, CLIENT_ID, CLIENT_SECRET and PORT. It prints {"listening": "..."} when it does, and ends with its
standard input.
"""

import json
import os
import sys
import threading

import requests


# Asks whether the person is still signed in. An error is raised: it says nothing about the person.
def introspect(handle):
    answer = requests.post(
        os.environ["ISSUER"] + "/oauth/introspect",
        data={"token": handle},
        auth=(os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]),
        timeout=5,
    )
    answer.raise_for_status()
    return answer.json()


def run(server, listening, end=lambda: None):
    """Serves until the standard input ends."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"listening": listening}), flush=True)
    sys.stdin.read()
    end()
