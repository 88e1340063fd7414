"""The verdicts of the real cosign on signatures beside files: `make cosign-verdicts`.

    python -m tests.lib.tools.cosign_blobs COSIGN

signs a file and a statement with keys that are always the same, damages copies, and keeps what
`cosign verify-blob` and `verify-blob-attestation` say in tests/golden/cosign-blobs.json.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imager.app.release.bundle import message_bundle, statement_bundle
from imager.efi.detached import open_detached_key
from imager.oci.digest import Digest
from tests.lib.caches.caches import sha256
from tests.lib.keys.release_keys import write_keys
from tests.lib.tools.cli import REPOSITORY

RECORDED = REPOSITORY / "tests/golden/cosign-blobs.json"
DATA = b"an output of 34 bytes, signed\n" * 1000


@dataclass(frozen=True)
class Case:
    """A file with a bundle and a public key, by the name of the key; whether it should verify."""

    data: bytes
    bundle: bytes
    key: str
    accepted: bool

    @property
    def is_statement(self) -> bool:
        return b"dsseEnvelope" in self.bundle

    @property
    def material(self) -> str:
        return sha256(b"\0".join((self.data, self.bundle, self.key.encode())))


def statement(data: bytes) -> bytes:
    """Return a statement of SLSA about `data`."""
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "output", "digest": {"sha256": sha256(data)}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {"buildDefinition": {}, "runDetails": {"builder": {"id": "urn:x"}}},
        }
    ).encode()


def cases(folder: Path) -> Iterator[tuple[str, Case]]:
    """Yield the cases; keys are written to `folder`."""
    write_keys(folder, "other")
    for name in ("ecdsa", "rsa"):
        key, _ = open_detached_key(str(write_keys(folder, name)[0]))
        blob = message_bundle(Digest.of(DATA), key)
        about = statement_bundle(statement(DATA), key)
        yield f"{name}-file", Case(DATA, blob, name, accepted=True)
        yield f"{name}-statement", Case(DATA, about, name, accepted=True)
        for kind, bundle in (("file", blob), ("statement", about)):
            yield f"{name}-{kind}-changed", Case(DATA + b"!", bundle, name, accepted=False)
            yield f"{name}-{kind}-other-key", Case(DATA, bundle, "other", accepted=False)
            yield f"{name}-{kind}-forged", Case(DATA, _forged(bundle), name, accepted=False)


def _forged(bundle: bytes) -> bytes:
    """Change a byte of the signature."""
    value: dict[str, Any] = json.loads(bundle)
    place, name = value.get("messageSignature"), "signature"
    if place is None:
        place, name = value["dsseEnvelope"]["signatures"][0], "sig"
    raw = bytearray(base64.b64decode(place[name]))
    raw[-1] ^= 1
    place[name] = base64.b64encode(raw).decode()
    return json.dumps(value).encode()


def verdict(cosign: Path, folder: Path, case: Case) -> bool:
    """Return whether cosign accepts a case."""
    data, bundle = folder / "data", folder / "bundle"
    data.write_bytes(case.data)
    bundle.write_bytes(case.bundle)
    command = ["verify-blob"]
    if case.is_statement:
        command = ["verify-blob-attestation", "--type", "slsaprovenance1"]
    key = folder / f"{case.key}.pub"
    options: list[str | Path] = ["--insecure-ignore-tlog", "--key", key, "--bundle", bundle]
    done = subprocess.run([cosign, *command, *options, data], timeout=120, check=False)
    return done.returncode == 0


def main() -> None:
    cosign = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {
            case: {"material": each.material, "accepted": verdict(cosign, folder, each)}
            for case, each in cases(folder)
        }
    value = {"cosign": cosign.parent.name, "cases": found}
    RECORDED.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
