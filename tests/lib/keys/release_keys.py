"""Keys that sign the files of a release: always the same, so that verdicts can be recorded."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.lib.keys.sigstore_instance import key_named

_P = int(
    "e9aa99ae848f1414b1087aad45644cae3b5111aca248465decfe7843cd4033b18e7fee643f24f9ad55f7785679a0"
    "e1593d51abe82e4257a9664631fcf74cd0a60f1ec5badec4ef5fe6e8dc1e16d46b4c0b077a75db28a649330411934"
    "a30d5644da67838983d5da52e0859c8f2b5fb871422e33c64f63b705e8930deb377e195",
    16,
)
_Q = int(
    "bebf4255d77f28f19e1d62d0565e17bca299430559aeba861f44008c325cbe828ae3b9f603bd7b8eba3f78bdf0f8"
    "87c7e5b99cb68df77074f373d76e3fdf5c88109771bfd27c38c9b75a0143387c438fb56cdb6f5d0c978cfe5912d35"
    "2e1590a297cb40f0ddf8aa17b95874107b0580af45194693ff6b55779d182a9b0814819",
    16,
)
_E = 65537


def _rsa() -> PrivateKeyTypes:
    d = pow(_E, -1, (_P - 1) * (_Q - 1))
    public = RSAPublicNumbers(_E, _P * _Q)
    parts = rsa_crt_dmp1(d, _P), rsa_crt_dmq1(d, _Q), rsa_crt_iqmp(_P, _Q)
    return RSAPrivateNumbers(_P, _Q, d, *parts, public).private_key()


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Write the private and the public key `name`, in PEM; `rsa` is one of RSA, others ECDSA."""
    key = _rsa() if name == "rsa" else key_named(name)
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public
