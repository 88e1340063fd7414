"""The findings of the doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, and how to fix it."""

    problem: str
    advice: str
