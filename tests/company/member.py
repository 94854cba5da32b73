"""Writers that we did not write, for `cargo xtask company`.

    member.py spark|pyiceberg URL --writer N --seconds S [--jars DIR]     increments counters
    member.py totals URL [--jars DIR]                                    rows, keys and the sum of the counters, by each engine
"""

import argparse
import importlib
import json
import pathlib
import random
import time
import uuid

KEYS, WRITERS = 200, 4
SHARED = KEYS // 5
# By this a commit is found whose answer was lost.
NAME = "member.commit"


def keys(writer):
    """One key after the other; a fifth of them is everybody's."""
    chance = random.Random()
    while True:
        if chance.random() < 0.2:
            yield chance.randrange(SHARED)
        else:
            yield SHARED + writer + WRITERS * chance.randrange(40)


def result(**counts):
    print("RESULT " + json.dumps(counts), flush=True)


def open_pyiceberg(options):
    from pyiceberg.catalog import load_catalog

    return load_catalog("company", type="rest", uri=options.url)


def pyiceberg(options):
    import pyarrow as pa
    from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException, ValidationException
    from pyiceberg.expressions import EqualTo

    catalog = open_pyiceberg(options)
    acknowledged = conflicts = unknown = 0
    end = time.monotonic() + options.seconds
    for key in keys(options.writer):
        name = str(uuid.uuid4())
        in_doubt = False
        while True:
            table = catalog.load_table(("dbo", "company"))
            # Where it lands after this look, the next attempt is a conflict.
            if in_doubt and any(snapshot.summary.get(NAME) == name for snapshot in table.metadata.snapshots):
                acknowledged += 1
                break
            # A retry would write what was read before somebody else's commit.
            table.metadata.properties["commit.retry.num-retries"] = "0"
            row = table.scan(EqualTo("id", key)).to_arrow()
            assert row.num_rows == 1, f"key {key} has {row.num_rows} rows"
            counter = row.schema.get_field_index("amount")
            more = pa.array([row["amount"][0].as_py() + 1], pa.int64())
            try:
                rows = row.set_column(counter, row.schema.field(counter), more)
                table.overwrite(rows, EqualTo("id", key), snapshot_properties={NAME: name})
                acknowledged += 1
                break
            except CommitStateUnknownException:
                in_doubt = True
                unknown += 1
            except (CommitFailedException, ValidationException):
                conflicts += 1
            except FileNotFoundError:
                # What it was about to read was compacted away and removed.
                conflicts += 1
        if time.monotonic() > end:
            break
    result(acknowledged=acknowledged, conflicts=conflicts, unknown=unknown)


def open_spark(options):
    from pyspark.sql import SparkSession

    (jar,) = pathlib.Path(options.jars).glob("iceberg-spark-runtime-*.jar")
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", str(jar))
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .config("spark.sql.catalog.company", "org.apache.iceberg.spark.SparkCatalog")
        .config("spark.sql.catalog.company.type", "rest")
        .config("spark.sql.catalog.company.uri", options.url)
        .config("spark.sql.catalog.company.cache-enabled", "false")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


# What Iceberg says when somebody else was first, with nothing committed.
LOST = ("CommitFailedException", "ValidationException", "conflicting", "Cannot commit", "Missing required files")


def spark(options):
    session = open_spark(options)
    session.sql(
        "ALTER TABLE company.dbo.company SET TBLPROPERTIES ("
        "'write.update.mode' = 'merge-on-read', 'write.delete.mode' = 'merge-on-read')"
    )
    acknowledged = conflicts = 0
    end = time.monotonic() + options.seconds
    for key in keys(options.writer):
        while True:
            try:
                session.sql(f"UPDATE company.dbo.company SET amount = amount + 1 WHERE id = {key}")
                acknowledged += 1
                break
            except Exception as error:
                if not any(lost in str(error) for lost in LOST) or "CommitStateUnknown" in str(error):
                    raise
                conflicts += 1
        if time.monotonic() > end:
            break
    result(acknowledged=acknowledged, conflicts=conflicts)


def totals(options):
    query = "SELECT count(*), count(DISTINCT id), sum(amount) FROM"
    rows = open_pyiceberg(options).load_table(("dbo", "company")).scan().to_arrow()
    found = {
        "PyIceberg": [rows.num_rows, len(set(rows["id"].to_pylist())), sum(rows["amount"].to_pylist())],
        "Spark": [int(value) for value in open_spark(options).sql(f"{query} company.dbo.company").collect()[0]],
    }
    import duckdb

    database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        module = importlib.import_module(f"duckdb_extension_{name}")
        (path,) = pathlib.Path(module.__path__[0]).rglob(f"{name}.duckdb_extension")
        database.execute(f"LOAD '{path}'")
    database.execute(f"ATTACH 'c' AS c (TYPE iceberg, ENDPOINT '{options.url}', AUTHORIZATION_TYPE 'none')")
    found["DuckDB"] = [int(value) for value in database.execute(f"{query} c.dbo.company").fetchone()]
    result(**found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["spark", "pyiceberg", "totals"])
    parser.add_argument("url")
    parser.add_argument("--writer", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--jars")
    options = parser.parse_args()
    {"spark": spark, "pyiceberg": pyiceberg, "totals": totals}[options.command](options)


if __name__ == "__main__":
    main()
