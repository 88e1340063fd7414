"""Inspecting an image at a URL by range requests, and images in registries."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imager.app.files import FilesOf, extract_files, list_files
from imager.app.inspect import inspect_image
from imager.app.verify import verify_image
from imager.content.copier import write_content
from imager.content.extents import Content
from imager.content.tree import File, Tree
from imager.efi.authenticode import sign_pe
from imager.efi.uki import Section, plan_uki
from imager.formats.iso9660.plan import plan_iso
from imager.formats.qcow2 import plan_qcow2
from imager.image.inspect.model import Inspection, SourceInfo
from imager.oci.endpoint import Hosts
from imager.oci.settings import RegistryOptions, RegistrySettings
from imager.oci.tls import TlsSettings
from imager.support.errors import DependencyError, InputError, UnsupportedError
from imager.support.units import GIB, MIB
from tests.lib.caches.caches import make_flat
from tests.lib.keys.certificates import Authority
from tests.lib.keys.pe_stub import pe_stub
from tests.lib.keys.signing_keys import Keys
from tests.lib.registries.client import QUICK
from tests.lib.registries.programmable import Registry
from tests.lib.registries.sample import BLOB, BLOB_PATH, NAME
from tests.lib.servers.faults import Cut, NoRanges
from tests.lib.servers.messages import Answer, Exchange
from tests.lib.servers.programmable import Programmable

INSECURE = RegistrySettings(
    hosts=Hosts(tls=TlsSettings(verify=False), insecure=True), patience=QUICK
)
PATH = "/images/talos.iso"


@dataclass
class FileServer(Programmable):
    """A server with one file at `PATH`."""

    file: Path = Path()
    etag: str = '"1"'

    def right(self, exchange: Exchange) -> Answer:
        exchange.take()
        if exchange.request.path != PATH:
            return Answer(404)
        size = self.file.stat().st_size
        headers = {"ETag": self.etag}
        start, end = exchange.request.wanted or (0, MIB)
        with self.file.open("rb") as file:
            file.seek(start)
            body = file.read(min(end or size, size) - start)
        if exchange.request.wanted is None:
            return Answer(200, body, headers)
        said = f"bytes {start}-{start + len(body) - 1}/{size}"
        return Answer(206, body, {**headers, "Content-Range": said})

    @property
    def sent(self) -> int:
        """The bytes of all ranges that were asked for."""
        wanted = [each.wanted for each in self.log.requests]
        return sum((end or 0) - start for start, end in filter(None, wanted))


@contextmanager
def serving(file: Path, certificate: tuple[Path, Path] | None = None) -> Iterator[FileServer]:
    server = FileServer(file=file)
    with server.running(certificate):
        yield server


@pytest.fixture(scope="module", name="iso")
def large_iso(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an ISO of more than 2 GiB, most of which is a hole."""
    folder = tmp_path_factory.mktemp("iso")
    cache = make_flat(folder / "flat", images=3, blob_size=5000)
    files = [
        File(f"imagecache/{path}", Content.of_bytes(data)) for path, data in cache.files.items()
    ]
    tree = Tree.of([File("boot/large", Content(2 * GIB)), *files])
    content = plan_iso(tree, volume_id="TALOS_V1_9_1", timestamp=1_700_000_000).content
    return written(content, folder / "talos.iso")


def written(content: Content, path: Path) -> Path:
    with path.open("wb") as file:
        write_content(content, file.fileno(), progress=lambda _: None)
    return path


def without_source(found: Inspection) -> Inspection:
    return replace(found, source=SourceInfo("", None, ()))


def test_of_2_gib_little_is_fetched(iso: Path) -> None:
    with serving(iso) as server:
        found = inspect_image(server.url + PATH, INSECURE)
        assert without_source(found) == without_source(inspect_image(str(iso)))
        assert found.source.formats == ("url",)
        assert found.source.size == iso.stat().st_size
        assert found.source.fetched is not None
        assert found.source.fetched <= server.sent < 8 * MIB
        asked = [each.wanted for each in server.log.requests]
        assert len(asked) < 40
        assert len(set(asked)) == len(asked)


def test_a_disk_image_format_at_a_url(iso: Path, tmp_path: Path) -> None:
    packed = written(plan_qcow2(Content.of_file(iso)), tmp_path / "disk.qcow2")
    with serving(packed) as server:
        found = inspect_image(server.url + PATH, INSECURE)
        assert (found.source.formats, found.talos) == (("url", "qcow2"), "v1.9.1")
        assert server.sent < 16 * MIB


def test_signatures_at_a_url_are_not_checked(tmp_path: Path, keys: Keys) -> None:
    """The signer is known by the end of the file; its middle is not fetched."""
    stub = pe_stub()
    (tmp_path / "stub.efi").write_bytes(stub)
    large = [Section(".data2", Content.of_bytes(b"x" * (20 * MIB)))]
    signed = sign_pe(plan_uki(tmp_path / "stub.efi", large), keys.signer)
    with serving(written(signed, tmp_path / "signed.efi")) as server:
        found = inspect_image(server.url + PATH, INSECURE)
        assert server.sent < 4 * MIB
    (binary,) = found.efi
    assert [each.subject for each in binary.signatures] == ["CN=signing"]
    assert binary.digest == ""
    assert "signatures are not checked" in found.unknown[0].reason


def test_certificates_are_checked(iso: Path, tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    with serving(iso, authority.server()) as server:
        url = server.url + PATH
        with pytest.raises(DependencyError, match="certificate is not trusted"):
            inspect_image(url, RegistrySettings(patience=QUICK))
        trusting = RegistryOptions(ca_files=[authority.certificate], retries=0).parse()
        assert inspect_image(url, trusting).talos == "v1.9.1"
        # Neither may a server lead elsewhere without encryption.
        server.always(PATH, Answer(302, headers={"Location": f"http://localhost:9{PATH}"}))
        with pytest.raises(DependencyError, match="not encrypted"):
            inspect_image(url, trusting)


def test_broken_answers_are_repeated(iso: Path) -> None:
    with serving(iso) as server:
        server.fault(PATH, Answer(503), Cut(after=999), Answer(200), Cut(after=0))
        server.always("/moved", Answer(302, headers={"Location": PATH}))
        with pytest.raises(UnsupportedError, match="does not support range requests"):
            inspect_image(server.url + PATH, INSECURE)
        assert inspect_image(server.url + "/moved", INSECURE).kind == "iso"


def test_servers_that_cannot_be_used(iso: Path) -> None:
    with serving(iso) as server:
        with pytest.raises(InputError, match="does not exist: HTTP 404") as caught:
            inspect_image(server.url + "/none?secret", INSECURE)
        assert "secret" not in caught.value.message
        server.always(PATH, NoRanges())
        with pytest.raises(UnsupportedError, match="does not support range requests"):
            inspect_image(server.url + PATH, INSECURE)
        server.heal()
        server.always(PATH, Cut(after=10))
        with pytest.raises(DependencyError, match="lost"):
            inspect_image(server.url + PATH, INSECURE)
        server.heal()

        def change(_: object) -> None:
            server.etag = f'"{len(server.log.requests)}"'

        server.decide(change)
        with pytest.raises(DependencyError, match="has changed while it was read"):
            inspect_image(server.url + PATH, INSECURE)


def test_an_image_in_a_registry(server: Registry) -> None:
    found = inspect_image(f"{server.host}/{NAME}:v1", INSECURE)
    (image,) = found.containers
    assert (found.kind, image.kind, image.platform) == ("container-images", "image", "linux/amd64")
    assert [layer.size for layer in image.layers] == [len(BLOB)]
    assert not [each for each in server.log.requests if re.search("GET.*blobs", each.target)]
    with pytest.raises(InputError, match="not in the registry"):
        inspect_image(f"{server.host}/{NAME}:v2", INSECURE)
    verified = verify_image(f"{server.host}/{NAME}:v1", registries=INSECURE)
    assert (verified.blobs, verified.problems) == (2, ())
    server.always(BLOB_PATH, Answer(200, b"x" * len(BLOB)))
    with pytest.raises(DependencyError):
        verify_image(f"{server.host}/{NAME}:v1", registries=INSECURE)


def test_files_of_an_iso_at_a_url(iso: Path, tmp_path: Path) -> None:
    """Listing 2 GiB and taking a small file out of it fetches little."""
    with serving(iso) as server:
        of = FilesOf(server.url + PATH, registries=INSECURE)
        assert [each.path for each in list_files(of)] == ["boot", "imagecache"]
        done = extract_files(of, "imagecache", tmp_path / "cache")
        assert done.files > 3
        assert server.sent < 16 * MIB
    local = extract_files(FilesOf(str(iso)), "imagecache", tmp_path / "local")
    assert (local.files, local.size) == (done.files, done.size)
    for path in (tmp_path / "local").rglob("blob/*"):
        assert path.read_bytes() == (tmp_path / "cache/blob" / path.name).read_bytes()


def test_a_file_at_a_url_is_verified_as_a_whole(tmp_path: Path) -> None:
    cache = make_flat(tmp_path / "flat", images=1, blob_size=5000)
    files = [File(path, Content.of_bytes(data)) for path, data in cache.files.items()]
    small = Tree.of(files).under("imagecache")
    content = plan_iso(small, volume_id="X", timestamp=1_700_000_000).content
    path = written(content, tmp_path / "talos.iso")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest} *talos.iso\n")
    with serving(path) as server:
        found = verify_image(server.url + PATH, tmp_path / "SHA256SUMS", INSECURE)
        assert (found.sha256, found.problems) == (digest, ())
        assert found.blobs == sum(each.startswith("blob/") for each in cache.files)
        (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64} *talos.iso\n")
        found = verify_image(server.url + PATH, tmp_path / "SHA256SUMS", INSECURE)
        assert len(found.problems) == 1
