"""A token server for registries: JSON Web Tokens, a scope each, short-lived if a test wants it.

https://distribution.github.io/distribution/spec/auth/jwt/ and RFC 7515; signed with ES256.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.lib.caches.caches import dump
from tests.lib.registries.store import refusal
from tests.lib.servers.loopback import serving_http
from tests.lib.servers.messages import Answer, Exchange

# Who may do all; without a login, what begins with public/ may be pulled.
SERVICE, ISSUER = "tests", "token server of the tests"
# docker-registry takes a token for that much longer than it says.
_LEEWAY = 60


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What was asked for by whom ("" without a login), and what was answered."""

    scopes: tuple[str, ...]
    user: str
    status: int


@dataclass(slots=True)
class TokenServer:
    """The running server; `lifetime` is in seconds, and may be changed at any time."""

    certificate: Path
    key: Path
    users: Mapping[str, str]
    lifetime: float = 300.0
    port: int = 0
    requests: list[TokenRequest] = field(default_factory=list)

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    def auth_config(self) -> dict[str, object]:
        """Return what docker-registry needs to send clients here and to trust the tokens."""
        bundle = str(self.certificate)
        fields = {"realm": self.realm, "service": SERVICE, "issuer": ISSUER}
        return {"token": {**fields, "rootcertbundle": bundle}}

    def answer(self, exchange: Exchange) -> Answer:
        scopes = tuple(exchange.request.query.get("scope", []))
        user = self._user(exchange.request.authorization)
        self.requests.append(TokenRequest(scopes, user or "", 401 if user is None else 200))
        if user is None:
            return refusal(401, "UNAUTHORIZED")
        token = {"token": self.token(scopes, user), "expires_in": int(self.lifetime)}
        return Answer(200, dump(token), {"Content-Type": "application/json"})

    def token(self, scopes: tuple[str, ...], user: str) -> str:
        now = time.time()
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "nbf": int(now) - 10,
            "iat": int(now) - 10,
            "exp": int(now + self.lifetime) - _LEEWAY,
            "jti": str(len(self.requests)),
            "access": [access for scope in scopes if (access := _access(scope, user))],
        }
        return _signed(claims, self.certificate, self.key)

    def _user(self, authorization: str) -> str | None:
        if not authorization:
            return ""
        name, _, password = base64.b64decode(authorization.split()[1]).decode().partition(":")
        return name if self.users.get(name) == password else None


@contextlib.contextmanager
def running_token_server(
    certificate: tuple[Path, Path], users: Mapping[str, str]
) -> Iterator[TokenServer]:
    """Run a token server on loopback; `certificate` (with its key, P-256) signs the tokens."""
    server = TokenServer(*certificate, users)

    with serving_http(server.answer) as server.port:
        yield server


def _access(scope: str, user: str) -> dict[str, object] | None:
    kind, name, actions = scope.split(":")
    granted = actions.split(",") if user else ["pull"] if name.startswith("public/") else []
    return {"type": kind, "name": name, "actions": granted} if granted else None


def _signed(claims: Mapping[str, object], certificate: Path, key_file: Path) -> str:
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    chain = x509.load_pem_x509_certificate(certificate.read_bytes())
    der = chain.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
