"""Which removals a difference comes from, where no name tells: by putting back half, a quarter, an eighth of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from packager.cleanup.plan import Removal


def bisect_removals(
    removals: Sequence[Removal], is_as_before: Callable[[Sequence[Removal]], bool]
) -> list[Removal] | None:
    """The removals that have to be left out for `is_as_before` to hold; None if leaving all of them out does not help.

    `is_as_before` is given what is left out. More left out never does harm, so each cause takes a logarithm of tries.
    """
    if not is_as_before(removals):
        return None
    needed: list[Removal] = []
    while not is_as_before(needed):
        known_bad, known_good = 0, len(removals)  # how many, from the first on, do not suffice; how many do
        while known_good - known_bad > 1:
            middle = (known_bad + known_good) // 2
            if is_as_before([*needed, *removals[:middle]]):
                known_good = middle
            else:
                known_bad = middle
        needed.append(removals[known_good - 1])
    return needed
