from __future__ import annotations

import pytest

from imager.support.errors import InputError
from imager.support.repro import DEFAULT_EPOCH, derived_uuid, source_date_epoch


def test_without_the_variable_the_instant_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert source_date_epoch() == DEFAULT_EPOCH == 1704067200
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    assert source_date_epoch() == DEFAULT_EPOCH


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("1700000000", 1700000000),
        ("0", 315532800),  # 1980-01-01, where FAT begins
        ("99999999999999", 4354819198),  # 2107-12-31T23:59:58, where it ends
    ],
)
def test_the_variable_is_taken(monkeypatch: pytest.MonkeyPatch, text: str, epoch: int) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert source_date_epoch() == epoch


@pytest.mark.parametrize("text", ["now", "-1", "1.5", "1 ", "0x10", "²"])
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        source_date_epoch()


def test_derived_ids_follow_the_rule() -> None:
    # printf '%032dEFI' 0 with the zeros as NUL bytes, sha256sum, first 16 bytes, version 8.
    uuid = derived_uuid("EFI")
    assert uuid.version == 8
    assert uuid.variant == "specified in RFC 4122"
    assert derived_uuid("EFI") == uuid != derived_uuid("META")
    assert str(uuid) == "bca5174b-0118-8a6a-af0b-2c6e1585acae"
