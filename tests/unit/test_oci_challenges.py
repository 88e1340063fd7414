"""Challenges as RFC 9110 writes them, and as registries do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imager.oci.challenges import Challenge, parse_challenges

BEARER = Challenge("bearer", {"realm": "https://a/t", "service": "s"})
BASIC = Challenge("basic", {"realm": "x"})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" , ", []),
        ('Bearer realm="https://a/t",service="s"', [BEARER]),
        ("bearer realm=https://a/t, service=s", [BEARER]),
        ('BEARER Realm = "https://a/t" ,\tSERVICE\t=  s', [BEARER]),
        ('Bearer realm="https://a/t",service="s", Basic realm="x"', [BEARER, BASIC]),
        ('Basic realm="x", Bearer realm="https://a/t" , service=s', [BASIC, BEARER]),
        ('Basic realm=x,, Bearer realm="https://a/t",service="s",', [BASIC, BEARER]),
        ('Negotiate, Basic realm="x"', [Challenge("negotiate"), BASIC]),
        (
            'Negotiate oAAb+/~.-_==, Basic realm="x"',
            [Challenge("negotiate", {}, "oAAb+/~.-_=="), BASIC],
        ),
        ("Basic", [Challenge("basic")]),
        (
            'Basic realm="Bearer realm=\\"no\\", Digest", charset=UTF-8',
            [
                Challenge("basic", {"realm": 'Bearer realm="no", Digest', "charset": "UTF-8"}),
            ],
        ),
        ('Basic realm="a\\b\\\\c"', [Challenge("basic", {"realm": "ab\\c"})]),
        ('Basic realm=""', [Challenge("basic", {"realm": ""})]),
        (
            'Bearer realm="https://a/t?x=1,2&y=(z)",scope=repository:a/b:pull,push',
            [
                Challenge(
                    "bearer", {"realm": "https://a/t?x=1,2&y=(z)", "scope": "repository:a/b:pull"}
                ),
                Challenge("push"),
            ],
        ),
        (
            'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="x"',
            [
                Challenge("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                BASIC,
            ],
        ),
        ('Basic realm="x", realm="y"', [BASIC]),
        ('Basic realm="x', [BASIC]),
        ('"?" Basic realm="x"', [BASIC]),
        ('= , Basic realm="x"', [BASIC]),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert list(parse_challenges(header)) == expected


@given(st.text(alphabet='aB1 ,="\\\t/:', max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower() != ""


def test_a_long_header_is_cut() -> None:
    assert parse_challenges("," * (1 << 16) + "Basic") == ()
    assert len(parse_challenges('"' * (1 << 20))) == 0
