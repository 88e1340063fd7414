"""How a registry's challenge becomes an Authorization header.

https://distribution.github.io/distribution/spec/auth/token/ (Bearer) and RFC 7617 (Basic).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

from imager.errors import DependencyError, InputError
from imager.oci.credentials import Credential, Credentials
from imager.oci.documents import load_fields
from imager.oci.reference import Reference
from imager.oci.transport import Transport, read_bounded
from imager.units import MIB

# What a token allows: actions of the token specification's scopes.
PULL = "pull"
PUSH = "pull,push"


def login_hint(registry: str) -> str:
    """Return what to do when `registry` refuses us."""
    return f"check the image's name, or log in with: docker login {registry}"


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Answers challenges with the user's credentials, or anonymously."""

    transport: Transport
    credentials: Credentials

    def answer(self, challenge: str, *, reference: Reference, url: str, actions: str) -> str:
        """Return the Authorization header for `challenge`, the WWW-Authenticate of `url`.

        `actions` (PULL, PUSH) is the scope to ask for where the challenge tells none. Raises
        InputError when credentials are missing or refused, DependencyError when the token server
        fails or is not safe to ask.
        """
        credential = self.credentials.find(reference.registry, reference.repository)
        if "bearer" in challenge.lower():
            address = _token_url(challenge, reference=reference, url=url, actions=actions)
            return f"Bearer {self._token(address, credential, reference=reference)}"
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
        return credential.basic

    def _token(self, address: str, credential: Credential | None, *, reference: Reference) -> str:
        headers = {"Authorization": credential.basic} if credential else {}
        host = urlsplit(address).netloc
        with self.transport.request("GET", address, headers=headers) as response:
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


def _token_url(challenge: str, *, reference: Reference, url: str, actions: str) -> str:
    from oras.auth.utils import parse_auth_header

    parts = parse_auth_header(challenge)
    address = str(parts.realm or "")
    try:
        realm = urlsplit(address)
    except ValueError as error:
        raise DependencyError(
            f"{reference.registry} names {address!r} as its token server: {error}"
        ) from error
    # The credentials go there, so not in the clear when the registry itself is on TLS.
    if realm.scheme not in ("https", urlsplit(url).scheme) or not realm.netloc:
        raise DependencyError(
            f"{reference.registry} sends us to a token server that is not safe: {address!r}"
        )
    scopes = (parts.scope or f"repository:{reference.repository}:{actions}").split()
    query = [("scope", scope) for scope in scopes]
    if parts.service:
        query.insert(0, ("service", parts.service))
    old = f"{realm.query}&" if realm.query else ""
    return urlunsplit(realm._replace(query=old + urlencode(query)))
