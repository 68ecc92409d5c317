"""Packs numbers of 0 and more, most of them small: seven bits to a byte, the eighth says that more follow (LEB128)."""

from __future__ import annotations

from collections.abc import Sequence


def pack(numbers: Sequence[int]) -> bytes:
    """Return numbers as bytes."""
    if max(numbers, default=0) <= 0x7F:
        return bytes(numbers)
    packed = bytearray()
    for number in numbers:
        while number > 0x7F:
            packed.append(number & 0x7F | 0x80)
            number >>= 7
        packed.append(number)
    return bytes(packed)


def unpack(packed: bytes) -> list[int]:
    """Return the numbers that were packed."""
    numbers: list[int] = []
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    return numbers
