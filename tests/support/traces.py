"""Reads a trace as a viewer would: by the rules of Google's Trace Event Format alone."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

ROUNDING_US = 0.0005


def check_trace(file: Path) -> list[dict[str, Any]]:
    """The events, after checking that every viewer can draw them."""
    trace = json.loads(file.read_text())
    events: list[dict[str, Any]] = trace["traceEvents"]
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    open_ids: dict[int, dict[str, Any]] = {}
    named = set()
    for event in events:
        assert event["ph"] in "XMbe"
        if event["ph"] == "M":
            assert event["args"]["name"]
            named.add((event["pid"], event.get("tid")))
            continue
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            lanes[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "b":
            assert event["id"] not in open_ids
            open_ids[event["id"]] = event
        else:
            begun = open_ids.pop(event["id"])
            assert begun["name"] == event["name"]
            assert begun["ts"] <= event["ts"]
    assert not open_ids
    for (process, thread), spans in lanes.items():
        assert {(process, None), (process, thread)} <= named
        enclosing: list[float] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while enclosing and enclosing[-1] <= start + ROUNDING_US:
                enclosing.pop()
            assert not enclosing or end <= enclosing[-1] + ROUNDING_US, "spans cross"
            enclosing.append(end)
    return events
