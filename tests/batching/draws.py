from vlp.batching.draw import Draw


def draw(size: int, seed: int = 0, step: int = 0, part: int = 0, total: int = 100) -> Draw:
    """Of micro-batch `part`, all of them of `size`."""
    return Draw(seed, step, slice(part * size, (part + 1) * size), (part + 1) * size, part, total)
