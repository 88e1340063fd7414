"""Turns a registry's challenge into an Authorization header.

https://distribution.github.io/distribution/spec/auth/token/ (Bearer),
https://distribution.github.io/distribution/spec/auth/oauth/ (Bearer with an identity token), and
RFC 7617 (Basic).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from imager.oci.challenges import Challenge, parse_challenges
from imager.oci.credentials import Credential, Credentials, IdentityToken, Login, RegistryToken
from imager.oci.documents import load_fields
from imager.oci.errors import AccessDeniedError, RegistryFailedError
from imager.oci.routing import Route
from imager.oci.transport import Response, follow, read_bounded
from imager.support.errors import DependencyError, ImagerError, InputError
from imager.support.units import MIB

_CLIENT_ID = "imager"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Statuses of a token server that does not support POST.
_NO_POST = (404, 405)


def login_hint(registry: str) -> str:
    """Return the hint for a refusal by `registry`."""
    return f"check the image's name, or log in with: docker login {registry}"


def answer_challenge(header: str, route: Route, credentials: Credentials) -> str:
    """Return the Authorization header for one of the challenges in `header`, WWW-Authenticate.

    Bearer is tried before Basic. Raises the error of the first challenge tried: InputError when
    credentials are missing or refused, DependencyError when the token server fails or has an
    unsafe address.
    """
    challenges = parse_challenges(header)
    if not challenges:
        raise _denied(route, "the registry refuses access and sent no authentication challenge")
    usable = [c for scheme in ("bearer", "basic") for c in challenges if c.scheme == scheme]
    if not usable:
        names = ", ".join(dict.fromkeys(challenge.scheme for challenge in challenges))
        raise RegistryFailedError(
            f"{route.reference}: the registry requires an unsupported authentication scheme: "
            f"{names[:100]}",
            hint="only Bearer and Basic are supported",
        )
    login = credentials.find(route.registry, route.reference.repository)
    return _first(usable, login, route)


def _first(challenges: Sequence[Challenge], login: Login | None, route: Route) -> str:
    failures: list[ImagerError] = []
    for challenge in challenges:
        try:
            if challenge.scheme == "basic":
                return _basic(login, route)
            return f"Bearer {_bearer(challenge, login, route)}"
        except (InputError, DependencyError) as error:
            failures.append(error)
    raise failures[0]


def _bearer(challenge: Challenge, login: Login | None, route: Route) -> str:
    match login:
        case RegistryToken(token):
            return _checked(token, "the stored registry token", route)
        case IdentityToken(token):
            return _exchanged(challenge, token, route)
        case _:
            headers = {"Authorization": login.basic} if login else {}
            address = _token_url(challenge, route)
            with route.transport.request(
                "GET", address, headers=headers, origin=route.url
            ) as response:
                return _token(response, route, anonymous=login is None)


def _exchanged(challenge: Challenge, token: str, route: Route) -> str:
    """Exchange an identity token for an access token at the token server."""
    address = urlsplit(_token_url(challenge, route))
    query = dict(parse_qsl(address.query))
    scope = " ".join(_scopes(challenge, route))
    form = {
        "grant_type": "refresh_token",
        "service": challenge.get("service"),
        "client_id": _CLIENT_ID,
        "scope": scope,
        "refresh_token": token,
    }
    kept = {name: value for name, value in query.items() if name not in form}
    url = urlunsplit(address._replace(query=urlencode(kept)))
    body = urlencode(form).encode()
    with route.transport.request(
        "POST", url, headers=_FORM, body=body, origin=route.url
    ) as response:
        if response.status in _NO_POST:
            raise AccessDeniedError(
                f"{address.netloc} does not accept identity tokens: HTTP {response.status}",
                hint=f"log in to {route.registry} with a user name and a password or access token",
            )
        return _token(response, route, anonymous=False)


def _denied(route: Route, why: str) -> AccessDeniedError:
    return AccessDeniedError(f"{route.reference}: {why}", hint=login_hint(route.registry))


def _basic(login: Login | None, route: Route) -> str:
    if login is None:
        raise _denied(route, "the registry requires a login")
    if not isinstance(login, Credential):
        raise _denied(
            route,
            "the registry requires a user name and a password, but the stored login is a token",
        )
    return login.basic


def _token(response: Response, route: Route, *, anonymous: bool) -> str:
    host = urlsplit(response.url).netloc
    if response.status in (400, 401, 403):
        who = "anonymous access" if anonymous else "the stored credentials"
        again = (
            f"log in again with: docker login {route.registry}; or log out to pull public images"
        )
        raise AccessDeniedError(
            f"{route.reference}: {host} refuses {who}: HTTP {response.status}",
            hint=login_hint(route.registry) if anonymous else again,
        )
    if response.status != 200:
        limited = f"wait, or log in with: docker login {route.registry}"
        raise RegistryFailedError(
            f"{route.reference}: {host} returned no token: HTTP {response.status}",
            hint=limited if response.status == 429 else "try again later, or contact its operator",
        )
    try:
        answer = load_fields(read_bounded(response, MIB), where="its response")
        token = answer.text("token") or answer.text("access_token")
    except InputError as error:
        raise RegistryFailedError(
            f"{route.reference}: {host} returned no token: {error.message}",
            hint="a proxy or a login page may be answering for the token server",
        ) from error
    return _checked(token, f"the token from {host}", route)


def _checked(token: str, source: str, route: Route) -> str:
    if not token.isascii() or not token.isprintable() or not token:
        raise RegistryFailedError(f"{route.reference}: {source} is not valid")
    return token


def _scopes(challenge: Challenge, route: Route) -> list[str]:
    wanted = f"repository:{route.reference.repository}:{route.actions}"
    return (challenge.get("scope") or wanted).split()


def _token_url(challenge: Challenge, route: Route) -> str:
    named = challenge.get("realm")
    if "://" not in named:
        raise RegistryFailedError(
            f"{route.registry} names an invalid token server: {named[:200]!r} is not a URL"
        )
    realm = urlsplit(follow(route.url, named))
    query = [("scope", scope) for scope in _scopes(challenge, route)]
    if service := challenge.get("service"):
        query.insert(0, ("service", service))
    old = f"{realm.query}&" if realm.query else ""
    return urlunsplit(realm._replace(query=old + urlencode(query), fragment=""))
