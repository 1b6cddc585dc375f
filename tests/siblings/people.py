"""Whose Django user it is."""

from mozilla_django_oidc.auth import OIDCAuthenticationBackend


class ByAccount(OIDCAuthenticationBackend):
    """A person is their `sub` at the hub. The library would match them by e-mail, which others may come to have."""

    def verify_claims(self, claims):
        return "sub" in claims

    def filter_users_by_claims(self, claims):
        return self.UserModel.objects.filter(username=claims["sub"])

    def create_user(self, claims):
        return self.update_user(self.UserModel.objects.create_user(claims["sub"]), claims)

    def update_user(self, user, claims):
        user.first_name, user.email = claims.get("name", ""), claims.get("email", "")
        user.save()
        return user
