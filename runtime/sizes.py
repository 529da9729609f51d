"""Writes sizes for people."""

KIB, MIB = 2**10, 2**20


def format_size(num_bytes: int) -> str:
    """Write a number of bytes in MiB, or in KiB or bytes if it is small.

    Rounded up to two decimals, so that a size over a limit never reads like the limit.
    """
    if num_bytes < KIB:
        return f"{num_bytes} bytes"
    unit, name = (KIB, "KiB") if num_bytes < MIB else (MIB, "MiB")
    hundredths = -(-num_bytes * 100 // unit)
    return f"{hundredths / 100:.12g} {name}"
