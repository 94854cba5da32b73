"""Compacts a table by Spark, in a session that has compacted another one before, and says how long that took, and how long it took us.

    compact_by_spark.py WAREHOUSE RUNTIME_JAR

The tables are `warm` and `twin` of the namespace `bench`, and our cost is in `ours.json`, as `cargo xtask bench iceberg` leaves them.
"""

import json
import os
import pathlib
import sys
import time

from interop import Spark


def cpu_seconds(session):
    """Of the Java process."""
    process = session.sparkContext._gateway.proc.pid
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def main():
    spark = Spark(pathlib.Path(sys.argv[1]).absolute(), sys.argv[2], cores="*")
    session = spark.session
    for table in ("warm", "warm", "twin"):
        started, cpu = time.monotonic(), cpu_seconds(session)
        options = "map('rewrite-all', 'true')" if table == "warm" else "map('min-input-files', '5')"
        done = session.sql(f"CALL lake.system.rewrite_data_files(table => 'bench.{table}', options => {options})").collect()[0]
    seconds, cpu = time.monotonic() - started, cpu_seconds(session) - cpu
    what = f"Spark, warm: {done.rewritten_data_files_count} files into {done.added_data_files_count}"
    print(f"{what:<44} {seconds:>8.2f} s {cpu:>8.2f} CPU s")
    ours = json.loads((pathlib.Path(sys.argv[1]) / "ours.json").read_text())
    print(f"Spark against ours: {seconds / ours['seconds']:.1f} x the time, {cpu / ours['cpu_seconds']:.1f} x the CPU time")
    spark.stop()


if __name__ == "__main__":
    main()
