"""Numbers as readers get them. Files hold them unrounded: they are rounded once, here, when they are printed.

A number with an interval has two decimals like its ends, or three if the interval is narrower than 0.02. Without an
interval it has three digits. ``edges`` are values on which a verdict depends: there are as many more digits as it takes
to see on which side of each edge an end is (of a whole interval of 0.7597 to 0.81 and the edge 0.76: 0.7597).
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

MOST = 6  # decimals
CELL = ".2f"  # format of the numbers in the cells of a figure


def number(
    value: float, low: float | None = None, high: float | None = None, edges: Sequence[float] = (), sign: str = ""
) -> str:
    """``value`` with the digits that its interval has; ``sign`` "+" shows that of positive numbers, too."""
    if _is_known(low) and _is_known(high):
        return f"{value:{sign}z.{_decimals(low, high, edges)}f}"
    if not math.isfinite(value) or value == math.floor(value) or abs(value) >= 1000:
        return f"{value:{sign},.0f}"
    enough = (n for n in range(3, 16) if _same_sides([value], f".{n}g", edges))
    return f"{value:{sign}.{next(enough, 16)}g}"


def span(low: float, high: float, edges: Sequence[float] = (), sign: str = "") -> str:
    """``0.64-0.74``, or ``-0.05 to 0.04`` where an end has a sign."""
    ends = [f"{end:{sign}z.{_decimals(low, high, edges)}f}" for end in (low, high)]
    return (" to " if sign or ends[0].startswith("-") else "-").join(ends)


def bounds(low: float, high: float) -> str:
    """What lies between two ends, which may be one: ``0.829-0.831``, or ``0.830``."""
    ends = [f"{end:.3f}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else "-".join(ends)


def with_interval(
    value: float, low: float | None, high: float | None, edges: Sequence[float] = (), before: str = "", sign: str = ""
) -> str:
    """``0.69 (0.64-0.74)``, with ``before`` the interval; ``0.69`` without an interval (None or NaN)."""
    text = number(value, low, high, edges, sign)
    return f"{text} ({before}{span(low, high, edges, sign)})" if _is_known(low) and _is_known(high) else text


def percent(share: float, low: float | None = None, high: float | None = None, before: str = "") -> str:
    """``36.7%``, or with an interval ``69% (64-74%)``: the digits of ``with_interval``."""
    if not (_is_known(low) and _is_known(high)):
        return f"{number(100 * share)}%"
    value, *ends = (f"{100 * of:.{_decimals(low, high, ()) - 2}f}" for of in (share, low, high))
    return f"{value}% ({before}{'-'.join(ends)}%)"


def of_people(share_and_ends: Iterable[float], people: int) -> str:
    """A share with its 95% CI as counts of so many people: ``38 (23-47)`` of 50."""
    return "{:,.0f} ({:,.0f}-{:,.0f})".format(*(end * people for end in share_and_ends))


def printed_range(text: str) -> tuple[float, float]:
    """The ends of what a printed number can stand for: ``0.73`` is 0.725 to 0.735."""
    digits = text.replace(",", "")
    mantissa, _, exponent = digits.lower().partition("e")
    half = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return float(digits) - half, float(digits) + half


def as_written(value: float) -> str:
    """A number that somebody typed or printed, with all its digits."""
    return f"{value:,.10g}"


def _is_known(end: float | None) -> TypeGuard[float]:
    return end is not None and not math.isnan(end)


def _decimals(low: float, high: float, edges: Sequence[float]) -> int:
    ends, fewest = (low, high), 3 if high - low < 0.02 - 1e-9 else 2
    enough = (n for n in range(fewest, MOST) if _same_sides(ends, f".{n}f", edges))
    return next(enough, MOST)


def _same_sides(values: Iterable[float], form: str, edges: Sequence[float]) -> bool:
    """Whether each value, shown in the format ``form``, stays on its side of each edge, or on the edge."""
    return all(_side(value, edge) == _side(float(f"{value:{form}}"), edge) for value in values for edge in edges)


def _side(value: float, edge: float) -> int:
    return 0 if math.isclose(value, edge, abs_tol=1e-9) else 1 if value > edge else -1
