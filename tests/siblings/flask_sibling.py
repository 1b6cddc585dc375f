"""A sibling service: Flask with Authlib."""

import os
import secrets

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, session, url_for
from werkzeug.serving import make_server

import sibling

app = Flask(__name__)
app.secret_key = secrets.token_hex()
app.config["SESSION_COOKIE_NAME"] = "flask"
# The handle stays here: Flask's own session is a cookie that its browser can read.
people = {}

oauth = OAuth(app)
oauth.register(
    "gastank",
    server_metadata_url=os.environ["ISSUER"] + "/.well-known/openid-configuration",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.get("/")
def home():
    person = people.get(session.get("id"))
    if person is None:
        return oauth.gastank.authorize_redirect(url_for("callback", _external=True))
    return {key: person["claims"].get(key) for key in ("sub", "name", "email")}


@app.get("/callback")
def callback():
    token = oauth.gastank.authorize_access_token()
    session["id"] = secrets.token_urlsafe()
    people[session["id"]] = {"claims": oauth.gastank.userinfo(token=token), "handle": token["access_token"]}
    return redirect(url_for("home"))


@app.get("/check")
def check():
    person = people.get(session.get("id"))
    return sibling.introspect(person["handle"]) if person else ({"error": "nobody is signed in here"}, 401)


@app.errorhandler(OAuthError)
def failed(error):
    return {"error": str(error)}, 502 if error.error == "invalid_client" else 400


server = make_server("127.0.0.1", int(os.environ["PORT"]), app, threaded=True)
sibling.run(server, f"http://127.0.0.1:{server.port}")
