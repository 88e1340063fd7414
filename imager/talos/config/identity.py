"""Which YAML documents are machine configurations, and what a person calls them."""

from __future__ import annotations

from collections.abc import Mapping

from imager.support.yamlpaths import shown, text_at

_NAME = "machine configuration"
_SECTIONS = frozenset({"machine", "cluster"})
_KEYS = _SECTIONS | {"version", "debug", "persist"}


def is_machine_config(document: object) -> bool:
    """Whether `document` is one of a machine configuration, or a patch of its first."""
    if not isinstance(document, Mapping):
        return False
    if "kind" in document:
        return document.get("apiVersion") == "v1alpha1"
    return bool(document.keys() & _SECTIONS) and document.keys() <= _KEYS


def document_name(document: object) -> str:
    """Return what a person calls a document: its kind and its name."""
    kind, name = text_at(document, "kind"), text_at(document, "name")
    if not kind:
        return _NAME
    return f"{shown(kind)} {shown(name)}" if name else shown(kind)
