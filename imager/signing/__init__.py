"""Signatures of what is booted: keys, Authenticode, PCR policies."""
