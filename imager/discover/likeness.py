"""Test whether a text is an image reference, or looks like one.

The grammar of references (imager/oci/reference.py) accepts most words, paths and addresses with
ports. The tests here are stricter, for arbitrary text. A reference is *complete* if it has a
registry and a plausible tag or digest; it is *likely* an image if one of the two is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from imager.discover.officialimages import is_official_image
from imager.oci.reference import Reference, is_strict_reference
from imager.support.errors import ImagerError


def words(text: str) -> frozenset[str]:
    """Return the set of words in `text`."""
    return frozenset(text.split())


MOST_IN_TEXT = 10_000
_LONGEST = 1024
# Schemes before a reference: kubelet, skopeo, KServe, Flux, Kubewarden; containers-transports(5).
_SCHEME = re.compile(
    r"(?:(?:docker|docker-pullable|oci|registry)://|(?:containers-storage|docker-daemon):)(.*)",
    re.DOTALL,
)
_DIGEST = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")
_TAG_WORDS = words(
    "latest stable main master nightly edge dev develop devel canary release lts debug nonroot "
    "alpine slim linux bookworm bullseye trixie jammy noble static base"
)
# Tags that count after a name without a slash, where most words are the values of settings.
_USUAL_WORDS = words("latest stable alpine slim")
_DOTTED = re.compile(r"v?\d+(?:\.\d+)+(?:[._-][\w.-]+)?|\d+-[a-z][\w.-]*", re.ASCII)
_API_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d+)?")
_YEAR = re.compile(r"20\d\d")
# Ports below 100 that often follow the name of a service.
_SMALL_PORTS = frozenset({"22", "25", "53", "80"})
_FILE = re.compile(
    r".*\.(?:git|ya?ml|json|toml|conf|cfg|ini|sh|py|go|js|ts|rs|java|txt|md|log|sock|pem|crt|key|"
    r"tgz|gz|zst|xz|zip|tar|png|jpe?g|svg|gif|ico|iso|img|qcow2|raw|vmdk|html?|css|so)"
)
_TOP_LEVEL = re.compile(r"[a-z]{2,}", re.ASCII)
_NO_REGISTRIES = frozenset(
    {"github.com", "gitlab.com", "bitbucket.org", "golang.org", "gopkg.in", "k8s.io", "sigs.k8s.io"}
)
_REGISTRIES = words(
    "docker.io index.docker.io quay.io ghcr.io gcr.io registry.k8s.io k8s.gcr.io nvcr.io "
    "mcr.microsoft.com public.ecr.aws cgr.dev icr.io lscr.io factory.talos.dev docker.elastic.co "
    "docker.n8n.io xpkg.upbound.io xpkg.crossplane.io dhi.io"
)
_REGISTRY_SUFFIXES = (".gcr.io", ".pkg.dev", ".azurecr.io", ".amazonaws.com", ".icr.io", ".ocir.io")
_REGISTRY_LABELS = frozenset({"registry", "harbor", "docker", "cr", "containers", "oci"})
# Registries whose images are always below an organization.
_OF_ORGANIZATIONS = frozenset({"docker.io", "quay.io", "ghcr.io", "gcr.io", "mirror.gcr.io"})
# The shape common to everything that looks like an image; a quick first test.
_SHAPE = re.compile(r"[a-zA-Z0-9][\w.-]*(?:(?:://|/|:|@)[\w.-]+)+", re.ASCII)
# A comment in a list or script.
COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_SEPARATOR = re.compile(r"[\s,;]+")
_NO_IMAGES = words("auto none null nil true false yes no default image images string")
# Words that precede a colon and a version in prose and settings.
_NO_NAMES = words(
    "version release http https tls sslv tlsv go api since from tag tcp udp sctp icmp grpc port"
)
_ADDRESS = re.compile(r"[\w.-]+:\d+", re.ASCII)
# A name without a slash, with a version without a dot.
_SHORT = re.compile(r"[a-z][a-z0-9]+(?:[._-]+[a-z0-9]+)*:(?:\d{1,2}|v\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Likeness:
    """A text that looks like an image, on line `offset` of the text that contains it."""

    image: str
    is_complete: bool
    offset: int = 0
    has_variable: bool = False


def bare(text: str) -> str:
    """Return `text` without the scheme that may precede a reference."""
    match = _SCHEME.fullmatch(text)
    return match[1] if match else text


@lru_cache(maxsize=1024)
def parsed(text: str) -> Reference | None:
    """Parse `text` as a short or full reference; None if it is not a reference."""
    try:
        return Reference.parse(text)
    except ImagerError:
        return None


@lru_cache(maxsize=1024)
def is_complete(text: str) -> bool:
    """Whether `text` is a complete reference, which hardly anything but an image is."""
    text = bare(text)
    reference = parsed(text)
    if reference is None:
        return False
    if _DIGEST.fullmatch(text):
        return True
    return (
        is_strict_reference(text)
        and _is_host(reference.registry)
        and not _FILE.fullmatch(reference.repository)
        and is_usual_tag(reference.tag or "")
    )


@lru_cache(maxsize=1024)
def is_likely(text: str) -> bool:
    """Whether `text` looks like a reference, complete or not."""
    if len(text) > _LONGEST or not _SHAPE.fullmatch(text):
        return False
    has_scheme, text = text != bare(text), bare(text)
    name, colon, tag = text.rpartition(":")
    is_word = bool(colon) and "/" not in text and "@" not in text
    if is_word and not has_scheme and not _is_versioned_word(name, tag):
        return False
    reference = parsed(text)
    if reference is None or _FILE.fullmatch(text.partition(":")[0]):
        return False
    if has_scheme or is_word or is_complete(text):
        return True
    if "/" in tag or not colon:
        return is_in_known_registry(text)
    first, _, rest = name.partition("/")
    if _API_VERSION.fullmatch(rest.rpartition("/")[2]):
        return False
    if is_strict_reference(text):
        return _is_host(reference.registry)
    return is_usual_tag(tag) and bool(re.search("[a-z]", first))


def is_short(text: str) -> bool:
    """Whether `text` is a word and a version, as in `app:7`: an image or an address."""
    name, _, tag = text.rpartition(":")
    return bool(_SHORT.fullmatch(text)) and tag not in _SMALL_PORTS and name not in _NO_NAMES


def is_address(text: str) -> bool:
    """Whether `text` is `host:number`, or several of them separated by commas."""
    return all(_ADDRESS.fullmatch(word.strip()) for word in text.split(","))


def is_list(text: str) -> bool:
    """Whether every word of `text` may be an image, and some look like images."""
    found = [word for line in text.split("\n") for word in _words(line)]
    return all(map(parsed, found)) and any(map(is_likely, found))


def is_tagged(text: str) -> bool:
    """Whether `text`, found where an image belongs, is a reference with a tag or digest."""
    text = bare(text)
    if is_complete(text) or (is_strict_reference(text) and is_likely(text)):
        return True
    tag = text.rpartition("/")[2].rpartition(":")[2]
    has_tag = "@" in text or (tag != text.rpartition("/")[2] and is_usual_tag(tag))
    return has_tag and parsed(text) is not None


def is_no_image(text: str) -> bool:
    """Whether `text`, found where an image may be named, is a word or file that cannot be one."""
    word = bare(text)
    is_other = word in _NO_IMAGES or word.isdigit() or _is_dotted_word(word)
    return is_other or bool(_FILE.fullmatch(word)) or parsed(word) is None


@lru_cache(maxsize=64)  # scan a text with several YAML aliases only once
def whole(text: str) -> tuple[Likeness, ...]:
    """Split `text` into references at commas or white space; empty if it is not a list of them."""
    if is_short(text.strip()):
        return (Likeness(text.strip(), is_complete=False),)
    found: list[Likeness] = []
    for offset, line in enumerate(text.split("\n")):
        for word in _words(line):
            if not is_likely(word) or len(found) == MOST_IN_TEXT:
                return ()
            found.append(Likeness(bare(word), is_complete(word), offset))
    return tuple(found)


def _words(line: str) -> Iterator[str]:
    return filter(None, _SEPARATOR.split(COMMENT.sub("", line)))


def _is_dotted_word(word: str) -> bool:
    """Whether a word is a host name or an expression such as `container.image`."""
    return "." in word and "/" not in word and ":" not in word


def _is_host(registry: str) -> bool:
    """Whether a registry's name is a plausible host name."""
    host, colon, _ = registry.partition(":")
    if host in _NO_REGISTRIES or host != host.lower():
        return False
    label = host.rpartition(".")[2]
    return bool(colon) or host == "localhost" or bool(_TOP_LEVEL.fullmatch(label))


def is_in_known_registry(text: str) -> bool:
    """Whether `text` is in a known registry, and below an organization where that needs one."""
    registry, slash, path = text.partition("/")
    host = registry.partition(":")[0]
    known = host in _REGISTRIES or host.endswith(_REGISTRY_SUFFIXES)
    if not slash or not (known or ("." in host and host.split(".")[0] in _REGISTRY_LABELS)):
        return False
    return "/" in path or host not in _OF_ORGANIZATIONS


def is_below_organization(name: str) -> bool:
    """Whether `name` includes an organization, if its registry is one that requires it."""
    registry, _, path = name.partition("/")
    return registry not in _OF_ORGANIZATIONS or "/" in path


def is_usual_tag(tag: str) -> bool:
    """Whether a tag is a version or one of the usual words, and not a port."""
    if tag.isdecimal():
        is_year = bool(_YEAR.fullmatch(tag))
        return (len(tag) < 3 and tag not in _SMALL_PORTS) or len(tag) > 5 or is_year
    return tag in _TAG_WORDS or bool(re.search(r"\d", tag))


def _is_versioned_word(name: str, tag: str) -> bool:
    """Whether a name without a slash, with its tag, looks like an image on Docker Hub."""
    if is_official_image(name, tag):
        return True
    is_name = re.search("[a-z]{2}", name) and name not in _NO_NAMES and "." not in name
    return bool(is_name) and (tag in _USUAL_WORDS or bool(_DOTTED.fullmatch(tag)))
