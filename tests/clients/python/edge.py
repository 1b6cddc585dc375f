#!/usr/bin/env python3
"""An edge made of Authlib and requests: everything that it knows, it knows from the metadata of the issuer.

It verifies a token with the published keys, introspects it in both ways of authentication, revokes it, and sees it dead.
It prints one line of JSON, and ends with 1 and a traceback on anything that is not as the standards say.
"""

import argparse
import json

import requests
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

TIMEOUT = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--issuer", required=True)
    parser.add_argument("--audience", required=True)
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--client-secret", required=True)
    parser.add_argument("--algorithm", required=True)
    parser.add_argument("token")
    asked = parser.parse_args()

    metadata = get(asked.issuer + "/.well-known/oauth-authorization-server")
    assert metadata["issuer"] == asked.issuer, "the issuer is not the one that was asked"
    claims = verify(asked, metadata)

    for method in ("client_secret_basic", "client_secret_post"):
        assert method in metadata["introspection_endpoint_auth_methods_supported"]
        assert method in metadata["revocation_endpoint_auth_methods_supported"]
        session = client(asked, method)
        verdict = introspect(session, metadata, asked.token)
        assert verdict["active"] is True, verdict
        for claim in ("iss", "aud", "sub", "client_id", "iat", "exp", "jti"):
            assert verdict[claim] == claims[claim], claim
        assert introspect(session, metadata, asked.token + "x") == {"active": False}

    wrong = OAuth2Session(asked.client_id, "wrong", revocation_endpoint_auth_method="client_secret_basic")
    refused = wrong.introspect_token(metadata["introspection_endpoint"], token=asked.token, timeout=TIMEOUT)
    assert refused.status_code == 401 and refused.json()["error"] == "invalid_client"
    assert refused.headers["www-authenticate"].lower().startswith("basic")

    session = client(asked, "client_secret_basic")
    for token in (asked.token + "x", asked.token, asked.token):
        revoked = session.revoke_token(
            metadata["revocation_endpoint"], token=token, token_type_hint="access_token", timeout=TIMEOUT
        )
        assert revoked.status_code == 200, revoked.text
    assert introspect(session, metadata, asked.token) == {"active": False}
    print(json.dumps({"verified": claims["jti"], "revoked": True}))


def verify(asked, metadata):
    keys = get(metadata["jwks_uri"])
    private = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
    assert not any(private & key.keys() for key in keys["keys"]), "a private key is published"
    assert len({key["kid"] for key in keys["keys"]}) == len(keys["keys"]), "keys share a kid"
    token = jwt.decode(asked.token, KeySet.import_key_set(keys), algorithms=[asked.algorithm])
    assert token.header["alg"] == asked.algorithm
    assert token.header["typ"].lower() in ("at+jwt", "application/at+jwt")
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": asked.issuer},
        aud={"essential": True, "value": asked.audience},
        **{name: {"essential": True} for name in ("exp", "iat", "sub", "client_id", "jti")},
    )
    registry.validate(token.claims)
    return token.claims


def client(asked, method):
    # Authlib has one setting for revocation and introspection.
    return OAuth2Session(
        asked.client_id,
        asked.client_secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    )


def introspect(session, metadata, token):
    answer = session.introspect_token(
        metadata["introspection_endpoint"], token=token, token_type_hint="refresh_token", timeout=TIMEOUT
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def get(url):
    answer = requests.get(url, timeout=TIMEOUT)
    assert answer.status_code == 200, f"{url}: {answer.status_code}"
    return answer.json()


if __name__ == "__main__":
    main()
