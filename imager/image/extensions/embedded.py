"""Embed a machine configuration: as a system extension with one file.

Format: Talos, pkg/imager/embed.go. Machines without a configuration in STATE read the file.
"""

from __future__ import annotations

import hashlib

from imager.content.extents import Content
from imager.content.rootfiles import RootFiles
from imager.content.tree import File, Tree
from imager.image.extensions.extension import Extension
from imager.image.extensions.manifest import Metadata
from imager.support.errors import InputError, InvalidConfigError, UnsupportedError
from imager.support.fields import setting
from imager.support.yamldocs import load_documents
from imager.talos.constants import STATE_LABEL
from imager.talos.version import TalosVersion

FIELD = "customization.embeddedMachineConfiguration"
_SINCE = (1, 12)
_PATH = "usr/local/etc/talos/config.yaml"


def embedded_config(text: str, version: TalosVersion) -> Extension:
    """Return the extension with the machine configuration `text`.

    Raises InvalidConfigError if it is not YAML, UnsupportedError for a Talos `version` that does
    not look for it.
    """
    if not version.at_least(*_SINCE):
        since = ".".join(map(str, _SINCE))
        raise UnsupportedError(
            f"{setting(FIELD)}: Talos {version.text} reads no embedded configuration",
            hint=f"build for Talos v{since}.0 or later, or leave it out",
        )
    _check(text)
    data = text.encode()
    metadata = Metadata(
        name="embedded-config",
        version=hashlib.sha256(data).hexdigest(),
        author="Imager",
        description="Virtual extension which embeds the machine configuration.",
        talos=">= 1.0.0",
    )
    tree = Tree.of([File(_PATH, Content.of_bytes(data), mode=0o400)])
    return Extension(metadata, RootFiles(tree, labels={_PATH: STATE_LABEL}), secret=True)


def _check(text: str) -> None:
    hint = "`imager config check` says more about a machine configuration"
    try:
        documents = load_documents(text)
    except InputError as error:
        raise InvalidConfigError([f"{setting(FIELD)}: {error.message}"], hint=hint) from error
    if not documents or not all(isinstance(each, dict) for each in documents):
        raise InvalidConfigError(
            [f"{setting(FIELD)}: not every document is a mapping"]
            if documents
            else [f"{setting(FIELD)}: there is no document"],
            hint=hint,
        )
