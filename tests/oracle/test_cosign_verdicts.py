"""The verdicts on good and tampered signatures are those of the real cosign.

Building cosign takes minutes, so its verdicts are recorded, with a hash of what it judged:
tests/golden/cosign-verdicts.json. `make cosign-verdicts` builds cosign and records them again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.keys.sigstore_instance import public_pem
from tests.lib.registries.programmable import running_programmable
from tests.lib.registries.signed_images import CASES, KEY, rule_for
from tests.lib.tools import cli
from tests.lib.tools.cosign import FORMS, RECORDED, material, restored

pytestmark = pytest.mark.oracle


RECORD = json.loads(RECORDED.read_text())


def test_cosign_says_the_same_of_every_case() -> None:
    assert RECORD["material"] == material()
    assert RECORD["accepted"] == {name: case.cosign_accepts for name, case in CASES.items()}
    differs = {name for name, case in CASES.items() if case.accepted != case.cosign_accepts}
    assert differs == {"simple-huge", "message", "id-message"}


def test_signatures_that_cosign_made(tmp_path: Path) -> None:
    """In the forms of cosign 2 and 3; another key is refused."""
    own, rules = RECORD["own"], tmp_path / "policy.yaml"
    with running_programmable() as registry:
        images = [f"{registry.host}/team/{form}:v1" for form in FORMS]
        for form in FORMS:
            restored(own["repositories"][form], registry.repository(f"team/{form}"))
        argv = ("images", "cache-create", "--images", ",".join(images), "--verify-policy", rules)
        rules.write_text(rule_for("*", own["key"]))
        done = cli.run(*argv, "--image-cache-path", tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        rules.write_text(rule_for("*", public_pem(KEY)))
        done = cli.run(*argv, "--image-cache-path", tmp_path / "other")
    assert done.returncode == 2
    assert done.stderr.count("it was not made with the given key") == len(FORMS)
    found = cli.run("images", "cache-verify", tmp_path / "cache", "--policy", rules)
    assert (found.returncode, found.stderr.count("not made with the given key")) == (2, 2)
