"""For schemathesis, which cannot make up signatures: what it generates for `POST /hooks/credit` is signed as its sender
would (Standard Webhooks 1.0), so that bad messages get past the signature and are refused for what they say. And what it
does not know: that event tokens are sent as they are.

Headers that are meant to be bad stay so. The secret comes from the environment, as WEBHOOK_SECRET.
"""

import base64
import hashlib
import hmac
import json
import os
import time
import uuid

import schemathesis
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))


class Signed(AuthBase):
    """Signs the bytes that are sent."""

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        message_id, sent = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
        tag = hmac.new(SECRET, b".".join([message_id.encode(), sent.encode(), body]), hashlib.sha256).digest()
        request.headers.update({
            "webhook-id": message_id,
            "webhook-timestamp": sent,
            "webhook-signature": f"v1,{base64.b64encode(tag).decode()}",
        })
        return request


@schemathesis.serializer("application/secevent+jwt")
def event_token(context, value):
    return {"data": value if isinstance(value, (str, bytes)) else json.dumps(value)}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.path != "/hooks/credit" or case.method != "POST" or case.meta is None:
        return
    if case.meta.is_negative_at(ParameterLocation.HEADER):
        return
    # Messages of other types are acknowledged whatever else they say: nothing would be tried of those.
    if isinstance(case.body, dict) and isinstance(case.body.get("type"), str):
        case.body["type"] = "credit.granted"
    # A schema cannot say that there are either these two or an account. Everybody is somebody new.
    if not case.meta.is_negative_at(ParameterLocation.BODY) and isinstance(case.body, dict):
        case.body["data"].pop("account", None)
        case.body["data"] |= {"issuer": "https://id.example", "subject": uuid.uuid4().hex}
    kwargs["auth"] = Signed()
