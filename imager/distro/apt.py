"""Download Debian packages with apt, for any architecture, without root or installing anything.

A private state folder contains apt's sources, lists and cache (apt.conf(5), "Directories"), so the
host's packages, pins, sources and architecture have no effect. The host's configuration is still
read, for its proxies and certificates. Indexes must be signed by a Debian key that ships with this
package; a package must have the SHA-256 in the signed index.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from imager.bootassets.debian import SUITE, DebianPackage
from imager.content.extents import Content
from imager.content.reading import hash_content
from imager.distro.errors import UnusablePackageError
from imager.support.arch import Arch
from imager.support.errors import DependencyError, InputError
from imager.support.tools import run_tool

TEMPLATE = Path("/usr/share/python-apt/templates/Debian.info")
_PACKAGE = "apt"
_FROM_CALLER = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "APT_CONFIG")
_MIRROR_HINT = (
    "give the URL of a Debian mirror, as in sources.list, with --mirror or in IMAGER_DEBIAN_MIRROR"
)
_FIELD = re.compile(r"^([A-Za-z0-9-]+): (.*)$", re.MULTILINE)
_URI = re.compile(r"[a-z0-9+]+:/[^\s\[\]#]+", re.ASCII)

# `#clear` removes the host's hooks, which would clean up the host's own folders after our update.
_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::lists "lists";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "archives";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/empty";
Dir::Etc::preferences "{folder}/state/status";
Dir::Etc::preferencesparts "{folder}/empty";
Dir::Etc::trusted "{folder}/empty/none.gpg";
Dir::Etc::trustedparts "{folder}/keys";
"""


@dataclass(frozen=True, slots=True)
class Apt:
    """apt, configured with a private state folder."""

    config: Path

    def show(self, *names: str) -> tuple[tuple[DebianPackage, str], ...]:
        """Return the newest version of each package and its Depends field, in the order of `names`.

        Raises DependencyError if the mirror lacks one of them.
        """
        text = self.run("apt-cache", "show", "--no-all-versions", *names).decode()
        records = [dict(_FIELD.findall(record)) for record in text.split("\n\n")]
        found = {record["Package"]: record for record in records if "Package" in record}
        return tuple(_package(name, found.get(name, {})) for name in names)

    def download(self, package: DebianPackage, folder: Path) -> Path:
        """Download the .deb of `package` into the empty `folder` and return its path.

        Raises DependencyError if the mirror lacks this version, or serves a different file.
        """
        self.run("apt-get", "download", f"{package.name}={package.version}", cwd=folder)
        found = sorted(folder.glob("*.deb"))
        if len(found) != 1 or not matches(found[0], package):
            raise UnusablePackageError(
                f"the mirror's {package.name} {package.version} does not match the expected package"
                f" (SHA-256 {package.sha256})"
            )
        return found[0]

    def run(self, tool: str, *arguments: str, cwd: Path | None = None) -> bytes:
        """Run one of apt's programs and return its output; raises DependencyError if it fails."""
        argv: list[str | Path] = [tool, "-q", "-c", self.config, *arguments]
        return run_tool(argv, package=_PACKAGE, env=_caller_settings(), cwd=cwd)


def _package(name: str, fields: Mapping[str, str]) -> tuple[DebianPackage, str]:
    try:
        size = int(fields["Size"])
        package = DebianPackage(name, fields["Version"], size, fields["SHA256"])
    except (KeyError, ValueError) as error:
        raise UnusablePackageError(f"apt's record of {name} is incomplete: {error}") from error
    return package, fields.get("Depends", "")


def open_apt(arch: Arch, *, mirror: str, folder: Path, suite: str = SUITE) -> Apt:
    """Prepare apt for `arch` in the new folder `folder`, and fetch the signed indexes of `mirror`.

    Raises InputError if `mirror` is not a URI, DependencyError if apt fails.
    """
    if not _URI.fullmatch(mirror):
        raise InputError(f"{mirror!r} is not the URL of a Debian mirror", hint=_MIRROR_HINT)
    folder = folder.resolve()
    for part in ("state/lists/partial", "cache/archives/partial", "empty", "keys"):
        (folder / part).mkdir(parents=True)
    (folder / "state/status").touch()
    for key in (files(__package__) / "keys").iterdir():
        (folder / "keys" / key.name).write_bytes(key.read_bytes())
    options = f"arch={arch.name} target=Packages"
    (folder / "sources.list").write_text(f"deb [{options}] {mirror} {suite} main\n")
    config = folder / "apt.conf"
    config.write_text(_CONFIG.format(arch=arch.name, folder=folder))
    apt = Apt(config)
    try:
        apt.run("apt-get", "-o", "APT::Update::Error-Mode=any", "update")
    except DependencyError as error:
        hint = error.hint or _MIRROR_HINT
        raise UnusablePackageError(f"Debian's package index: {error.message}", hint=hint) from error
    return apt


def find_mirror(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of a Debian mirror.

    Tries IMAGER_DEBIAN_MIRROR, the mirror of the host's apt, and the one in the package
    python-apt-common, in this order. Raises DependencyError if there is none.
    """
    asked = environment.get("IMAGER_DEBIAN_MIRROR", "")
    found = asked or _mirror_of_host() or _mirror_of_templates()
    if not found:
        raise UnusablePackageError("no Debian mirror is configured", hint=_MIRROR_HINT)
    return found


def _mirror_of_host() -> str:
    targets = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"]
    for line in _lines(targets):
        if line.startswith("Debian|Debian|main|"):
            return line.rpartition("|")[2]
    # Without downloaded lists, apt does not know the origin: match the usual end of the URL.
    for line in _lines([*targets, "--no-release-info"]):
        if line.endswith("/debian/") and "|main|" in line:
            return line.rpartition("|")[2]
    return ""


def _lines(argv: Sequence[str]) -> list[str]:
    try:
        return run_tool(argv, package=_PACKAGE, env=_caller_settings()).decode().splitlines()
    except DependencyError:
        return []


def _mirror_of_templates() -> str:
    if not TEMPLATE.is_file():
        return ""
    found = re.search(r"^BaseURI: (\S+/debian/)$", TEMPLATE.read_text(), re.MULTILINE)
    return found[1] if found else ""


def _caller_settings() -> dict[str, str]:
    return {name: os.environ[name] for name in _FROM_CALLER if name in os.environ}


def matches(path: Path, package: DebianPackage) -> bool:
    """Whether the file `path` is the .deb of `package`, by size and SHA-256."""
    if not path.is_file() or path.stat().st_size != package.size:
        return False
    return hash_content(Content.of_file(path)).hex() == package.sha256
