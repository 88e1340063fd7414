"""How a registry's challenge becomes an Authorization header.

https://distribution.github.io/distribution/spec/auth/token/ (Bearer) and RFC 7617 (Basic).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from imager.errors import DependencyError, InputError
from imager.oci.credentials import Credential, CredentialStore
from imager.oci.documents import load_fields
from imager.oci.reference import Reference
from imager.oci.transport import Response, Transport
from imager.units import MIB


def login_hint(registry: str) -> str:
    """Return what to do when `registry` refuses us."""
    return f"check the image's name, or log in with: docker login {registry}"


def read_bounded(response: Response, limit: int) -> bytes:
    """Return the body, at most `limit` + 1 bytes of it; raises DependencyError as `chunks`."""
    body = bytearray()
    for chunk in response.chunks():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body[: limit + 1])


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Answers challenges with the user's credentials, or anonymously."""

    transport: Transport
    credentials: CredentialStore

    def answer(self, challenge: str, *, reference: Reference, url: str) -> str:
        """Return the Authorization header for `challenge`, the WWW-Authenticate of `url`.

        Raises InputError when credentials are missing or refused, DependencyError when the
        token server fails or is not safe to ask.
        """
        credential = self.credentials.find(reference.registry)
        if "bearer" in challenge.lower():
            return f"Bearer {self._token(challenge, credential, reference=reference, url=url)}"
        if not challenge:
            raise InputError(
                f"{reference.registry} refuses {reference} and does not say how to log in",
                hint=login_hint(reference.registry),
            )
        if "basic" not in challenge.lower():
            raise DependencyError(f"{reference.registry} asks for an unknown login: {challenge!r}")
        if credential is None:
            raise InputError(
                f"{reference.registry} wants a login for {reference}",
                hint=login_hint(reference.registry),
            )
        return _basic(credential)

    def _token(
        self, challenge: str, credential: Credential | None, *, reference: Reference, url: str
    ) -> str:
        headers = {"Authorization": _basic(credential)} if credential else {}
        address = _token_url(challenge, reference=reference, url=url)
        host = urlsplit(address).netloc
        with self.transport.get(address, headers=headers) as response:
            if response.status in (401, 403):
                who = "the stored credentials" if credential else "anonymous access"
                raise InputError(
                    f"{host} refuses {who} for {reference}", hint=login_hint(reference.registry)
                )
            if response.status != 200:
                raise DependencyError(
                    f"{host} gives no token for {reference}: HTTP {response.status}"
                )
            raw = read_bounded(response, MIB)
        answer = load_fields(raw, where=f"the token answer of {host}")
        token = answer.text("token") or answer.text("access_token")
        if not token.isascii() or not token.isprintable() or not token:
            raise DependencyError(f"{host} gives no valid token for {reference}")
        return token


def _basic(credential: Credential) -> str:
    from oras.auth.utils import get_basic_auth

    return f"Basic {get_basic_auth(credential.username, credential.password)}"


def _token_url(challenge: str, *, reference: Reference, url: str) -> str:
    from oras.auth.utils import parse_auth_header

    parts = parse_auth_header(challenge)
    try:
        realm = urlsplit(str(parts.realm or ""))
    except ValueError as error:
        raise DependencyError(
            f"{reference.registry} names {parts.realm!r} as its token server: {error}"
        ) from error
    # The credentials go there, so not in the clear when the registry itself is on TLS.
    if realm.scheme not in ("https", urlsplit(url).scheme) or not realm.netloc:
        raise DependencyError(
            f"{reference.registry} sends us to a token server that is not safe: {parts.realm!r}"
        )
    query = [("scope", parts.scope or f"repository:{reference.repository}:pull")]
    if parts.service:
        query.insert(0, ("service", parts.service))
    old = f"{realm.query}&" if realm.query else ""
    return urlunsplit(realm._replace(query=old + urlencode(query)))
