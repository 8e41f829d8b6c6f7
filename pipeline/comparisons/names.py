"""Short names for runs and corpora: as much of a location as distinguishes it from the others."""

from collections import Counter
from collections.abc import Iterable


def short_names(locations: Iterable[str]) -> dict[str, str]:
    """Each location's last part, or as many parts as distinguish it from the others."""
    parts = {location: location.rstrip("/").split("/") for location in locations}
    names = {}
    for location, own in parts.items():
        others = [other for name, other in parts.items() if name != location]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        names[location] = "/".join(own[-length:]) or location
    return names


def distinct_names(locations: list[str]) -> list[str]:
    """Short names; a location that is given again is numbered."""
    short = short_names(locations)
    seen: Counter[str] = Counter()
    names = []
    for location in locations:
        seen[location] += 1
        again = f" ({seen[location]})" if seen[location] > 1 else ""
        names.append(short[location] + again)
    return names
