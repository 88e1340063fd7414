"""A certificate authority for tests, made with openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lib.tools.cli import tool

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA in a folder of its own."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True)
        authority = cls(folder)
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        key, out = folder / "ca-key.pem", authority.certificate
        tool("openssl", "req", "-x509", *_EC, "-days", "30", "-subj", "/CN=tests", *usage,
             "-keyout", key, "-out", out)  # fmt: skip
        return authority

    def server(self, name: str = "server", *, at: str = "") -> tuple[Path, Path]:
        """Return a certificate for 127.0.0.1 and its key, made at the time `at` for ten days."""
        usage = ("-addext", "extendedKeyUsage=serverAuth", "-addext", "subjectAltName=IP:127.0.0.1")
        return self._signed(name, usage, prefix=("faketime", at) if at else ())

    def client(self, name: str = "client") -> tuple[Path, Path]:
        """Return a certificate to log in with, and its key."""
        return self._signed(name, ("-addext", "extendedKeyUsage=clientAuth"))

    def _signed(
        self, name: str, usage: tuple[str, ...], *, prefix: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        tool(*prefix, "openssl", "req", "-x509", *_EC, "-days", "10", "-subj", f"/CN={name}",
             "-addext", "basicConstraints=critical,CA:FALSE", *usage,
             "-CA", self.certificate, "-CAkey", self.folder / "ca-key.pem",
             "-keyout", key, "-out", certificate)  # fmt: skip
        return certificate, key
