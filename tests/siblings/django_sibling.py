"""A sibling service: Django with mozilla-django-oidc."""

import os
import secrets
import tempfile

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import include, path
from werkzeug.serving import make_server

import sibling

ISSUER = os.environ["ISSUER"]
scratch = tempfile.TemporaryDirectory()

OF_THE_HUB = dict(
    AUTHENTICATION_BACKENDS=["people.ByAccount"],
    LOGIN_URL="oidc_authentication_init",
    LOGIN_REDIRECT_URL="/",
    LOGIN_REDIRECT_URL_FAILURE="/failed",
    OIDC_OP_AUTHORIZATION_ENDPOINT=ISSUER + "/oauth/authorize",
    OIDC_OP_TOKEN_ENDPOINT=ISSUER + "/oauth/token",
    OIDC_OP_USER_ENDPOINT=ISSUER + "/oauth/userinfo",
    OIDC_OP_JWKS_ENDPOINT=ISSUER + "/.well-known/jwks.json",
    OIDC_RP_CLIENT_ID=os.environ["CLIENT_ID"],
    OIDC_RP_CLIENT_SECRET=os.environ["CLIENT_SECRET"],
    OIDC_RP_SCOPES="openid profile email",
    OIDC_RP_SIGN_ALGO="ES256",
    OIDC_USE_PKCE=True,
    OIDC_STORE_ACCESS_TOKEN=True,
    OIDC_TIMEOUT=5,
)

settings.configure(
    **OF_THE_HUB,
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": scratch.name + "/db"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "mozilla_django_oidc",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
    SESSION_COOKIE_NAME="django",
)
django.setup()

from django.contrib.auth.decorators import login_required  # noqa: E402 (Django wants its settings first)


@login_required
def home(request):
    return JsonResponse(
        {"sub": request.user.username, "name": request.user.first_name, "email": request.user.email}
    )


@login_required
def check(request):
    return JsonResponse(sibling.introspect(request.session["oidc_access_token"]))


def failed(request):
    return JsonResponse({"error": "the sign-in failed"}, status=400)


urlpatterns = [
    path("", home),
    path("check", check),
    path("failed", failed),
    path("oidc/", include("mozilla_django_oidc.urls")),
]

call_command("migrate", verbosity=0)
server = make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application(), threaded=True)
sibling.run(server, f"http://127.0.0.1:{server.port}")
