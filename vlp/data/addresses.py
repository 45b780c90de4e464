"""Images known by their address on the web: what their files are called."""

from __future__ import annotations

import hashlib

_DIGITS = 20


def file_name(address: str) -> str:
    """`3f2a....jpg`: the first 80 bits of the address's sha256, so that one in ten million meets another with a
    probability of one in 10^10. Every fetched image is stored as JPEG."""
    return f"{hashlib.sha256(address.encode()).hexdigest()[:_DIGITS]}.jpg"
