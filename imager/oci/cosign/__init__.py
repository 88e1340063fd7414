"""Signatures of images as cosign makes them: found beside an image, and verified offline."""
