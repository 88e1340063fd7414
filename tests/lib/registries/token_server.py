"""A token server for registries: JSON Web Tokens, a scope each, short-lived if a test wants it.

https://distribution.github.io/distribution/spec/auth/jwt/ and RFC 7515; signed with ES256.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

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

    def answer(self, query: str, authorization: str) -> tuple[int, dict[str, object]]:
        scopes = tuple(parse_qs(query).get("scope", []))
        user = self._user(authorization)
        status = 401 if user is None else 200
        self.requests.append(TokenRequest(scopes, user or "", status))
        if user is None:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong login"}]}
        return status, {"token": self.token(scopes, user), "expires_in": int(self.lifetime)}

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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, answer = server.answer(parts.query, self.headers.get("Authorization", ""))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


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
