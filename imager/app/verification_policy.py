"""Read the files of a policy: rules for the signatures of images, and whom to trust."""

from __future__ import annotations

from dataclasses import dataclass

from imager.cache.signature_policy import SignaturePolicy
from imager.oci.cosign.keyless import TrustedRoot
from imager.support.errors import InputError
from imager.support.inputs import input_name, read_input
from imager.support.reporter import Reporter
from imager.support.units import MIB
from imager.talos.config.document import LARGEST_CONFIG, located, read_machine_config
from imager.talos.config.doubts import doubts
from imager.talos.config.image_verification import VERIFICATION_KIND

_LARGEST_ROOT = 1 * MIB


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """A machine configuration with an ImageVerificationConfig, or a file with that document alone.

    `trusted_root` is a `trusted_root.json` of Sigstore. Rules that name an identity require it.
    """

    policy: str
    trusted_root: str | None = None

    def read(self, reporter: Reporter) -> SignaturePolicy:
        """Read both files, and warn `reporter` of what may be a mistake.

        Raises InvalidConfigError with all problems of the policy, InputError for other invalid
        files, DependencyError if the sigstore library is needed and not installed.
        """
        source = input_name(self.policy)
        text = read_input(self.policy, what="verification policy", limit=LARGEST_CONFIG)
        config = read_machine_config(text, source=source)
        rules = config.verification
        if rules is None:
            raise InputError(f"{source} has no document of kind {VERIFICATION_KIND}")
        reporter.warn(*located(source, list(doubts(config))))
        if not rules.needs_trusted_root:
            return SignaturePolicy(rules)
        if self.trusted_root is None:
            raise InputError(
                f"{source} has keyless rules, which need a trusted root",
                hint="give the trusted_root.json of Sigstore, or of your own instance of it, with "
                "--trusted-root",
            )
        text = read_input(self.trusted_root, what="trusted root", limit=_LARGEST_ROOT)
        return SignaturePolicy(rules, TrustedRoot.parse(text, where=input_name(self.trusted_root)))
