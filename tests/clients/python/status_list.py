#!/usr/bin/env python3
"""An edge that asks nobody: it checks tokens by the published keys and the token status lists alone.

Standard library only, ES256 included, so that it shares no code with the service. Tokens are read from standard input, one
a line; what each is worth is printed as one line of JSON: 0 valid, 1 invalid. It ends with 1 and a `problem` on anything
that the standards do not allow.
"""

import argparse
import base64
import gzip
import hashlib
import json
import sys
import time
import urllib.request
import zlib

MOST_BYTES = 8 << 20

# The curve P-256 (FIPS 186-4, D.1.2.3).
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


class Unexpected(Exception):
    """Something that the standards do not allow."""


def demand(holds, problem):
    if not holds:
        raise Unexpected(problem)


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(scalar, point):
    total = None
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def verify_es256(message, signature, jwk):
    demand((jwk["kty"], jwk["crv"], jwk["alg"]) == ("EC", "P-256", "ES256"), "a key of another kind")
    key = tuple(int.from_bytes(unpadded(jwk[part]), "big") for part in "xy")
    demand((key[1] ** 2 - key[0] ** 3 + 3 * key[0] - B) % P == 0, "a key that is not on its curve")
    demand(len(signature) == 64, "a signature of the wrong length")
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    demand(0 < r < N and 0 < s < N, "a signature out of range")
    digest, inverse = int.from_bytes(hashlib.sha256(message).digest(), "big"), pow(s, -1, N)
    point = add(times(digest * inverse % N, G), times(r * inverse % N, key))
    demand(point is not None and point[0] % N == r, "a signature that does not verify")


def opened(jwt, typ, keys):
    """The claims of a JWT that one of the keys has signed."""
    signed, _, signature = jwt.rpartition(".")
    header, payload = (json.loads(unpadded(part)) for part in signed.split("."))
    demand(header["typ"].lower() in (typ, f"application/{typ}"), f"typ is {header['typ']}")
    demand(header["alg"] == "ES256", f"alg is {header['alg']}")
    demand(header["kid"] in keys, "a kid that is not published")
    verify_es256(signed.encode(), unpadded(signature), keys[header["kid"]])
    return payload


def get(url, encoding="identity"):
    request = urllib.request.Request(url, headers={"Accept-Encoding": encoding})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read(MOST_BYTES)
        if answer.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return answer.headers, body


def fetched(uri, keys):
    """The bits of a status list."""
    headers, body = get(uri, "gzip")
    demand(headers["Content-Type"] == "application/statuslist+jwt", f"the content type is {headers['Content-Type']}")
    demand(headers["Content-Encoding"] == "gzip", "it is not compressed though it may be")
    demand(headers["Access-Control-Allow-Origin"] == "*", "browsers may not read it")
    demand(headers["ETag"] and "max-age=" in headers["Cache-Control"], "it cannot be cached")
    claims = opened(body.decode(), "statuslist+jwt", keys)
    demand(claims["sub"] == uri, f"the list at {uri} is {claims['sub']}")
    demand(claims["iat"] - 5 <= time.time() < claims["exp"], "the list has expired, or is from the future")
    demand(0 < claims["ttl"] < claims["exp"] - claims["iat"], "the ttl outlasts the list")
    demand(claims["status_list"]["bits"] == 1, "more than a bit")
    return zlib.decompress(unpadded(claims["status_list"]["lst"]))


def check(http, tokens):
    metadata = json.loads(get(f"{http}/.well-known/oauth-authorization-server")[1])
    keys = {key["kid"]: key for key in json.loads(get(metadata["jwks_uri"])[1])["keys"]}
    named = json.loads(get(metadata["status_list_aggregation_endpoint"])[1])["status_lists"]
    lists, statuses, places = {}, [], set()
    for token in tokens:
        claims = opened(token, "at+jwt", keys)
        place = claims["status"]["status_list"]
        uri, idx = place["uri"], place["idx"]
        demand((uri, idx) not in places, "two tokens in one place")
        places.add((uri, idx))
        if uri not in lists:
            lists[uri] = fetched(uri, keys)
        demand(0 <= idx < len(lists[uri]) * 8, "an index past the end")
        bit = lists[uri][idx >> 3] >> (idx & 7) & 1
        demand(bit == 1 or uri in named, "a list with a good token is not named among all")
        # An expired token is dead, whatever its bit says.
        statuses.append(1 if claims["exp"] <= time.time() else bit)
    return statuses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", required=True, help="the public listener, as http://host:port")
    options = parser.parse_args()
    try:
        print(json.dumps({"statuses": check(options.http, sys.stdin.read().split())}))
    except (Unexpected, OSError, KeyError, ValueError, zlib.error) as problem:
        print(json.dumps({"problem": f"{type(problem).__name__}: {problem}"}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
