"""An RSA key that PCR policies are signed with, made by openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from imager.efi.signer import FileKey, load_key
from tests.lib.tools.cli import tool


@dataclass(frozen=True, slots=True)
class PcrKey:
    """The key in the PEM file `private`; `public` is the file of its public part."""

    private: Path
    public: Path

    @classmethod
    def make(cls, folder: Path, *, name: str = "pcr") -> PcrKey:
        key = cls(folder / f"{name}-key.pem", folder / f"{name}-public.pem")
        tool("openssl", "genrsa", "-out", key.private, "2048")
        tool("openssl", "rsa", "-in", key.private, "-pubout", "-out", key.public)
        return key

    @property
    def public_key(self) -> RSAPublicKey:
        return self._loaded().public_key

    def sign(self, data: bytes) -> bytes:
        return self._loaded().sign(data)

    def _loaded(self) -> FileKey:
        return load_key(self.private)[0]
