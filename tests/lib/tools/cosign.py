"""The verdicts of the real cosign on the images of `signed_images`: `make cosign-verdicts`.

    python -m tests.lib.tools.cosign COSIGN

runs `cosign verify` on each image, in a registry on loopback, offline with the trusted root of the
tests. Then it has cosign sign images with a key, in the forms of cosign 2 and 3. All of it is kept
in tests/golden/cosign-verdicts.json.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.lib.caches.caches import sha256
from tests.lib.keys.sigstore_instance import b64, public_pem
from tests.lib.registries.programmable import running_programmable
from tests.lib.registries.signed_images import (
    BY_IDENTITY,
    CASES,
    INSTANCE,
    ISSUER,
    KEY,
    SUBJECT,
    add_case,
)
from tests.lib.registries.store import Repository
from tests.lib.tools.cli import REPOSITORY

RECORDED = REPOSITORY / "tests/golden/cosign-verdicts.json"
# Forms of signatures, and cosign's option that selects them.
FORMS = {"cosign-2": "false", "cosign-3": "true"}
_LOOPBACK = ("--allow-http-registry", "--allow-insecure-registry")


def material() -> str:
    """Return a hash of all images with their signatures, and of the trusted root."""
    lines = [sha256(INSTANCE.trusted_root()), sha256(public_pem(KEY).encode())]
    for name, case in CASES.items():
        repository = Repository()
        add_case(repository, name, case)
        lines += [name, *sorted(repository.blobs), *sorted(repository.manifests)]
        lines += [f"{tag} {digest}" for tag, digest in sorted(repository.tags.items())]
    return sha256("\n".join(lines).encode())


def verdicts(cosign: Path, folder: Path) -> dict[str, bool]:
    """Return for each case whether `cosign verify` accepts its image."""
    key, root = folder / "key.pub", folder / "trusted_root.json"
    key.write_text(public_pem(KEY))
    root.write_bytes(INSTANCE.trusted_root())
    found = {}
    with running_programmable() as registry:
        for name, case in CASES.items():
            add_case(registry.repository(f"team/{name}"), name, case)
            options = ["--key", str(key), "--insecure-ignore-tlog"]
            if name in BY_IDENTITY:
                options = ["--certificate-oidc-issuer", ISSUER, "--certificate-identity", SUBJECT]
                options += ["--trusted-root", str(root)]
            image = f"{registry.host}/team/{name}:v1"
            done = subprocess.run(
                [cosign, "verify", "--offline", *options, *_LOOPBACK, image],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            found[name] = done.returncode == 0
            print(f"{name}: {done.returncode} {done.stderr.strip().splitlines()[-1:]}")
    return found


def own_signatures(cosign: Path, folder: Path) -> dict[str, Any]:
    """Sign images with a new key, as cosign 2 and as cosign 3 do; return key and repositories."""
    env = {**os.environ, "COSIGN_PASSWORD": ""}

    def call(*args: str) -> None:
        subprocess.run([cosign, *args], cwd=folder, env=env, check=True, timeout=120)

    call("generate-key-pair")
    repositories = {}
    with running_programmable() as registry:
        for name, is_new in FORMS.items():
            repository = registry.repository(f"team/{name}")
            add_case(repository, name, CASES["unsigned"])
            image = f"{registry.host}/team/{name}:v1"
            options = ("--use-signing-config=false", "--tlog-upload=false", "--yes")
            form = f"--new-bundle-format={is_new}"
            call("sign", "--key", "cosign.key", form, *options, *_LOOPBACK, image)
            repositories[name] = {
                "blobs": [b64(data) for data in repository.blobs.values()],
                "manifests": [[m.kind, b64(m.data)] for m in repository.manifests.values()],
                "tags": repository.tags,
            }
    return {"key": (folder / "cosign.pub").read_text(), "repositories": repositories}


def restored(recorded: dict[str, Any], repository: Repository) -> None:
    """Fill a repository with a recorded one."""
    for blob in recorded["blobs"]:
        repository.add_blob(base64.b64decode(blob))
    for kind, data in recorded["manifests"]:
        repository.add_manifest(base64.b64decode(data), kind)
    repository.tags.update(recorded["tags"])


def main() -> None:
    cosign = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        accepted = verdicts(cosign, Path(folder))
        own = own_signatures(cosign, Path(folder))
    value = {"cosign": cosign.parent.name, "material": material(), "accepted": accepted, "own": own}
    RECORDED.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
