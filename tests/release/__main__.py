"""Make a release of the newest commit: packages, container image, and what comes with them."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imager.app.release.bundle import message_bundle, statement_bundle
from imager.efi.detached import open_detached_key
from imager.oci.digest import Digest
from tests.release.documents import bill_of_materials, provenance
from tests.release.notes import release_notes
from tests.release.source import Source, build_image, build_packages, export, require_buildx

_ROOT = Path(__file__).parents[2]
_SIGNATURE, _SUMS = ".sigstore.json", "SHA256SUMS"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.release", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder for the release, new or empty")
    parser.add_argument("--checkout", type=Path, default=_ROOT)
    parser.add_argument("--image", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sign-key", metavar="FILE|URI", help="PEM file or pkcs11: URI")
    parser.add_argument("--origin", metavar="URI", default="urn:imager:source")
    parser.add_argument("--builder-id", metavar="URI", default="urn:imager:builder:local")
    return parser.parse_args()


def _describe(source: Source, folder: Path, builder: str) -> Path:
    """Write the bill, the notes and the provenance of what is in `folder`; return the last."""
    stem = f"imager-{source.version}"
    made = {path.name: _digest(path).hex for path in sorted(folder.iterdir())}
    (folder / f"{stem}.cdx.json").write_bytes(bill_of_materials(source, made))
    changes = (source.folder / "CHANGELOG.md").read_text()
    (folder / "RELEASE_NOTES.md").write_text(release_notes(changes, source.version))
    statement = folder / f"{stem}.provenance.json"
    described = {path.name: _digest(path).hex for path in sorted(folder.iterdir())}
    statement.write_bytes(provenance(source, described, builder))
    return statement


def _sign(folder: Path, statement: Path, key_text: str) -> Iterator[str]:
    """Write a bundle for each file in `folder`; the statement is in its own. Yields warnings."""
    key, warnings = open_detached_key(key_text)
    for path in sorted(folder.iterdir()):
        is_statement = path == statement
        bundle = (
            statement_bundle(path.read_bytes(), key)
            if is_statement
            else message_bundle(_digest(path), key)
        )
        path.with_name(f"{path.name}{_SIGNATURE}").write_bytes(bundle)
    yield from warnings


def _digest(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def main() -> None:
    """Make the release, and list its files."""
    given = _arguments()
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    if given.image:
        require_buildx()
    with tempfile.TemporaryDirectory(prefix="imager-release-") as name:
        source = export(given.checkout, Path(name), origin=given.origin)
        build_packages(source, folder)
        if given.image:
            build_image(source, folder)
        statement = _describe(source, folder, given.builder_id)
    if given.sign_key:
        for warning in _sign(folder, statement, given.sign_key):
            print(f"warning: {warning}")
    sums = [f"{_digest(path).hex}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / _SUMS).write_text("".join(sums))
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>12}  {path.name}")


if __name__ == "__main__":
    main()
