"""Reads the file of metrics as Prometheus' own client does, and compares the rows that it counts with what `sync-cli status` says.

    metrics.py FILE STATUS_JSON
"""

import json
import sys
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

DIRECTIONS = {"source → iceberg": "capture", "iceberg → target": "apply"}


def main(file, status):
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    written = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(samples) == len(written), f"{len(samples)} samples were read of {len(written)}"
    for family in families:
        assert family.documentation, f"{family.name} does not say what it is"
        assert family.type in ("counter", "gauge"), f"{family.name} is a {family.type}"

    applied = Counter()
    for sample in samples:
        if sample.name == "sync_written_rows_total":
            applied[sample.labels["table"], sample.labels["direction"]] += sample.value
    expect = {(entry["table"], DIRECTIONS[entry["direction"]]): entry["rows_applied"] for entry in json.loads(status)}
    assert applied == expect, f"the metrics count {dict(applied)}, the state store {expect}"
    print(f"{len(families)} metrics, {len(samples)} samples, {int(applied.total())} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
