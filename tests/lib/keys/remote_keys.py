"""Tokens and services that sign with a key of a file, for tests of keys that are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.lib.keys.signing_keys import Keys
from tests.lib.tools.cli import tool

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "123456"
_HASHES = {1: hashes.SHA256(), 2: hashes.SHA384(), 3: hashes.SHA512()}


class SoftToken:
    """A token of SoftHSM in a folder, with keys from files."""

    def __init__(self, folder: Path, label: str = "imager test") -> None:
        self.label = label
        folder.mkdir(parents=True, exist_ok=True)
        tokens, conf = folder / "tokens", folder / "softhsm2.conf"
        tokens.mkdir()
        conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(conf)}
        self._run("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN)

    def add(self, keys: Keys, name: str, identifier: str) -> str:
        """Put a key into the token; return its URI without the PIN."""
        self._run("--import", keys.key, "--token", self.label, "--label", name,
                  "--id", identifier, "--pin", PIN)  # fmt: skip
        return f"pkcs11:token={self.label.replace(' ', '%20')};object={name}?module-path={MODULE}"

    def _run(self, *arguments: str | Path) -> None:
        tool("env", *(f"{k}={v}" for k, v in self.environment.items()), "softhsm2-util", *arguments)


@contextmanager
def grpc_service(keys: Keys, folder: Path) -> Iterator[str]:
    """Serve Talos's SignerService for a key on a Unix socket; yield its address."""
    private = load_pem_private_key(keys.key.read_bytes(), None)
    assert isinstance(private, RSAPrivateKey)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(request: bytes, _context: Any) -> bytes:
        digest, numbers = _parsed(request)
        assert numbers[3] == 1
        algorithm = Prehashed(_HASHES[numbers[2]])
        return _field(private.sign(digest, PKCS1v15(), algorithm))

    methods = {
        "GetCertificate": lambda _request, _context: _field(keys.certificate.read_bytes()),
        "GetPublicKey": lambda _request, _context: _field(public),
        "Sign": sign,
    }
    handlers: Any = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("signerapi.SignerService", handlers),)
    )
    address = f"unix://{folder / 'signer.sock'}"
    server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def _field(data: bytes) -> bytes:
    """Return a protobuf message whose field 1 is `data`."""
    size, prefix = len(data), b""
    while size >= 128:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return b"\x0a" + prefix + bytes([size]) + data


def _parsed(message: bytes) -> tuple[bytes, dict[int, int]]:
    """Return field 1 of a short message, and its small numbers by field."""
    assert message[0] == 0x0A
    end = 2 + message[1]
    rest = message[end:]
    return message[2:end], {rest[i] >> 3: rest[i + 1] for i in range(0, len(rest), 2)}
