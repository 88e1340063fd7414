"""Recognize the YAML documents of machine configurations, and name them in messages."""

from __future__ import annotations

from collections.abc import Mapping

from imager.support.yamlpaths import shown, text_at

_NAME = "machine configuration"
_SECTIONS = frozenset({"machine", "cluster"})
_KEYS = _SECTIONS | {"version", "debug", "persist"}


def is_machine_config(document: object) -> bool:
    """Whether `document` belongs to a machine configuration, or is a patch of the first one."""
    if not isinstance(document, Mapping):
        return False
    if "kind" in document:
        return document.get("apiVersion") == "v1alpha1"
    return bool(document.keys() & _SECTIONS) and document.keys() <= _KEYS


def document_name(document: object) -> str:
    """Return a document's name for messages: its kind and its name."""
    kind, name = text_at(document, "kind"), text_at(document, "name")
    if not kind:
        return _NAME
    return f"{shown(kind)} {shown(name)}" if name else shown(kind)
