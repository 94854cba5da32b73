"""Tables that Spark and PyIceberg write, for the engine to read, adopt and write into; and these engines reading what came of it.

    foreign.py write WAREHOUSE --spark RUNTIME_JAR
    foreign.py check WAREHOUSE --spark RUNTIME_JAR

`write` makes tables in the namespace `foreign`: by Spark, merge-on-read (position deletes in v2, deletion vectors in v3) and copy-on-write,
with columns and partitions that change on the way, and with files that it imports; by PyIceberg, appends, overwrites, deletes and upserts. WAREHOUSE/foreign.json then says
what they hold: {table: {"columns": [...], "rows": [...], "kept": [...], "snapshots": {id: rows of the kept columns}}}, where `kept` are the
columns that every snapshot has. `check` reads what WAREHOUSE/written.json says: {table: {"columns": [...], "rows": [...]}}.

A value is written as Arrow holds it: times as microseconds, dates as days since 1970, bytes in hexadecimal, decimals as digits. PyIceberg has
no file system catalog, so its newest metadata gets the name under which such a catalog looks for it.
"""

import argparse
import collections
import datetime
import decimal
import json
import pathlib
import shutil
import sys

import pyarrow as pa

from compare_table import DuckDb, PyIceberg
from interop import Spark

EPOCH = datetime.datetime(1970, 1, 1)


def stored(value):
    match value:
        case None | bool() | int() | float():
            return value
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            if value.tzinfo:
                value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
            return (value - EPOCH) // datetime.timedelta(microseconds=1)
        case datetime.date():
            return (value - EPOCH.date()).days
        case bytes() | bytearray():
            return bytes(value).hex()
        case _:
            return str(value)


def multiset(rows):
    return collections.Counter(json.dumps([stored(value) for value in row]) for row in rows)


# By Spark: what happens to a table after its first rows, statement by statement.
FIRST = "id BIGINT NOT NULL, name STRING, price DECIMAL(9,2), at TIMESTAMP_NTZ, n INT, f FLOAT, ok BOOLEAN, d DATE, b BINARY"
ROWS = (
    "SELECT id, concat('name ', id % 7), CAST(id * 1.25 AS DECIMAL(9,2)),"
    " TIMESTAMP_NTZ '2024-02-28 22:30:00' + make_dt_interval(0, id % 60), CAST(id % 11 AS INT), CAST(id / 8 AS FLOAT),"
    " id % 2 = 0, date_add(DATE '1969-12-20', CAST(id % 30 AS INT)), CAST(concat('b', id) AS BINARY) FROM range({}, {})"
)
STORY = [
    "INSERT INTO {t} " + ROWS.format(0, 400),
    "INSERT INTO {t} SELECT -1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    "DELETE FROM {t} WHERE id % 9 = 4",
    "UPDATE {t} SET name = 'changed', n = NULL WHERE id % 10 = 3",
    "ALTER TABLE {t} ADD COLUMN note STRING",
    "ALTER TABLE {t} ALTER COLUMN n TYPE BIGINT",
    "ALTER TABLE {t} ALTER COLUMN f TYPE DOUBLE",
    "ALTER TABLE {t} ALTER COLUMN price TYPE DECIMAL(12,2)",
    "ALTER TABLE {t} RENAME COLUMN name TO title",
    "{partitions}",
    "INSERT INTO {t} SELECT *, concat('note ', id) FROM (" + ROWS.format(400, 600) + ")",
    "MERGE INTO {t} USING (SELECT id * 3 AS id FROM range(0, 250)) AS s ON {t}.id = s.id"
    " WHEN MATCHED AND s.id % 2 = 0 THEN UPDATE SET note = 'merged', price = price + 1"
    " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.id, 'new')",
    "ALTER TABLE {t} DROP COLUMN b",
    "ALTER TABLE {t} ALTER COLUMN note FIRST",
    "DELETE FROM {t} WHERE id BETWEEN 500 AND 520",
    "ALTER TABLE {t} SET IDENTIFIER FIELDS id",
]
KEPT = ["id", "price", "at", "n", "ok", "d"]
TABLES = [
    (f"spark_v{version}_{mode.replace('-', '_')}_{label}", version, mode, first, then)
    for version in (2, 3)
    for mode in ("merge-on-read", "copy-on-write")
    for label, first, then in (
        ("whole", "", "SELECT 1"),
        ("parts", "PARTITIONED BY (days(at))", "ALTER TABLE {t} REPLACE PARTITION FIELD days(at) WITH bucket(4, id)"),
        # The story drops the column, after which Spark's own merge-on-read fails.
        ("gone", "PARTITIONED BY (truncate(2, b))", "ALTER TABLE {t} DROP PARTITION FIELD truncate(2, b)"),
    )
    if (mode, label) != ("merge-on-read", "gone")
]


def write_by_spark(spark, warehouse, expected):
    session = spark.session
    for name, version, mode, first, then in TABLES:
        table = f"lake.foreign.{name}"
        modes = ", ".join(f"'write.{what}.mode' = '{mode}'" for what in ("delete", "update", "merge"))
        session.sql(
            f"CREATE TABLE {table} ({FIRST}) USING iceberg {first} TBLPROPERTIES ('format-version' = '{version}', {modes})"
        )
        for statement in STORY:
            session.sql(statement.format(t=table, partitions=then.format(t=table)))
        note(expected, name, lambda columns, at: select(session, table, columns, at), session.table(table).columns, [
            row.snapshot_id for row in session.sql(f"SELECT snapshot_id FROM {table}.snapshots").collect()
        ])


def import_by_spark(spark, warehouse, expected):
    """Files of a directory by the value of a column, which they lack, and whose fields have no ids."""
    session = spark.session
    for version in (2, 3):
        name, files = f"spark_v{version}_imported", warehouse / f"imported_v{version}"
        rows = "SELECT id, concat('name ', id % 7) AS name, CAST(nullif(id % 4, 3) AS INT) AS n FROM range({}, {})"
        session.sql(rows.format(0, 200)).write.partitionBy("n").parquet(f"file://{files}")
        table = f"lake.foreign.{name}"
        session.sql(
            f"CREATE TABLE {table} (id BIGINT NOT NULL, name STRING, n INT) USING iceberg PARTITIONED BY (n)"
            f" TBLPROPERTIES ('format-version' = '{version}')"
        )
        session.sql(f"CALL lake.system.add_files(table => 'foreign.{name}', source_table => '`parquet`.`file://{files}`')")
        session.sql(f"INSERT INTO {table} " + rows.format(200, 230))
        session.sql(f"ALTER TABLE {table} SET IDENTIFIER FIELDS id")
        note(expected, name, lambda columns, at: select(session, table, columns, at), session.table(table).columns, [
            row.snapshot_id for row in session.sql(f"SELECT snapshot_id FROM {table}.snapshots").collect()
        ])


def select(session, table, columns, snapshot):
    names = ", ".join(f"`{column}`" for column in columns)
    at = f" VERSION AS OF {snapshot}" if snapshot is not None else ""
    return [list(row) for row in session.sql(f"SELECT {names} FROM {table}{at}").collect()]


def write_by_pyiceberg(warehouse, expected):
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import BucketTransform, DayTransform
    from pyiceberg.types import DoubleType, IntegerType, LongType, NestedField, StringType, TimestampType

    catalog = SqlCatalog("lake", uri="sqlite:///:memory:", warehouse=f"file://{warehouse}")
    catalog.create_namespace("foreign")
    schema = Schema(
        NestedField(1, "id", LongType(), required=True),
        NestedField(2, "name", StringType()),
        NestedField(3, "n", IntegerType()),
        NestedField(4, "at", TimestampType()),
        identifier_field_ids=[1],
    )
    for version in (2, 3):
        for partitioned in (False, True):
            name = f"pyiceberg_v{version}_{'parts' if partitioned else 'whole'}"
            location = f"file://{warehouse}/foreign/{name}"
            try:
                table = catalog.create_table(
                    f"foreign.{name}", schema, location=location, properties={"format-version": str(version)}
                )
                if partitioned:
                    with table.update_spec() as update:
                        update.add_field("at", DayTransform(), "day")
                tell_story(table, partitioned, DoubleType, LongType, BucketTransform)
            except Exception as error:
                print(f"PyIceberg cannot write {name}: {type(error).__name__}: {str(error).splitlines()[0]}")
                shutil.rmtree(warehouse / "foreign" / name, ignore_errors=True)
                continue
            metadata = pathlib.Path(table.metadata_location.removeprefix("file://"))
            shutil.copy(metadata, metadata.with_name("v1.metadata.json"))
            metadata.with_name("version-hint.text").write_text("1")

            def read(columns, at):
                found = table.scan(selected_fields=tuple(columns), snapshot_id=at).to_arrow().to_pylist()
                return [[row[column] for column in columns] for row in found]

            columns = [field.name for field in table.schema().fields]
            note(expected, name, read, columns, [snapshot.snapshot_id for snapshot in table.snapshots()])


def tell_story(table, partitioned, DoubleType, LongType, BucketTransform):
    def rows(first, last, **more):
        ids = range(first, last)
        columns = {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([f"name {id % 5}" if id % 6 else None for id in ids], pa.string()),
            "n": pa.array([id % 13 for id in ids], more.pop("n", pa.int32())),
            "at": pa.array([EPOCH + datetime.timedelta(hours=id - 30) for id in ids], pa.timestamp("us")),
            **{name: pa.array([f(id) for id in ids], kind) for name, (kind, f) in more.items()},
        }
        fields = [pa.field(name, array.type, nullable=name != "id") for name, array in columns.items()]
        return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))

    table.append(rows(0, 120))
    table.append(rows(120, 150))
    table.delete("id in (3, 5, 7, 121)")
    table.overwrite(rows(10, 20), overwrite_filter="id >= 10 and id < 30")
    table.upsert(rows(140, 160))
    with table.update_schema() as update:
        update.add_column("price", DoubleType())
        update.update_column("n", LongType())
        update.rename_column("name", "title")
    if partitioned:
        with table.update_spec() as update:
            update.add_field("id", BucketTransform(3), "bucket")
    more = rows(160, 190, n=pa.int64(), price=(pa.float64(), lambda id: id / 4))
    table.append(more.rename_columns(["title" if name == "name" else name for name in more.column_names]))
    table.delete("title = 'name 2'")


def note(expected, name, read, columns, snapshots):
    kept = [column for column in columns if column in KEPT]
    if name.startswith("pyiceberg"):
        kept = [column for column in columns if column in ("id", "n", "at")]
    form = lambda rows: [[stored(value) for value in row] for row in rows]
    expected[name] = {
        "columns": columns,
        "rows": form(read(columns, None)),
        "kept": kept,
        "snapshots": {str(snapshot): form(read(kept, snapshot)) for snapshot in snapshots},
    }
    print(f"{name}: {len(expected[name]['rows'])} rows, {len(snapshots)} snapshots", flush=True)


def check(warehouse, spark):
    written = json.loads((warehouse / "written.json").read_text())
    wrong = 0
    for name, state in written.items():
        table = warehouse / "foreign" / name
        readers = {"PyIceberg": PyIceberg(table), "DuckDB": DuckDb(table), "Spark": None}
        cells = []
        if name.endswith("_gone"):
            # Its process is aborted ("Can't change source type"), also by the table as Spark left it.
            del readers["DuckDB"]
            cells.append("DuckDB not asked")
        for engine, reader in readers.items():
            try:
                if reader is None:
                    found = select(spark.session, f"lake.foreign.{name}", state["columns"], None)
                else:
                    found = reader.rows(state["columns"])
            except Exception as error:
                cells.append(f"{engine} {type(error).__name__}: {str(error).splitlines()[0]}")
                wrong += 1
                continue
            same = multiset(found) == multiset(state["rows"])
            wrong += not same
            cells.append(f"{engine} {'ok' if same else 'WRONG'}")
        print(f"{name:<34} {len(state['rows']):>4} rows  " + "  ".join(cells), flush=True)
    print(f"{len(written)} tables of others, written into, {wrong} readings differ")
    print("PyIceberg does not write v3; DuckDB does not read tables that are partitioned by a column that is gone")
    sys.exit(min(wrong, 100))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("warehouse", type=pathlib.Path)
    parser.add_argument("--spark", metavar="RUNTIME_JAR", required=True)
    arguments = parser.parse_args()
    warehouse = arguments.warehouse.absolute()
    spark = Spark(warehouse, arguments.spark)
    if arguments.action == "check":
        check(warehouse, spark)
    expected = {}
    write_by_spark(spark, warehouse, expected)
    import_by_spark(spark, warehouse, expected)
    spark.stop()
    write_by_pyiceberg(warehouse, expected)
    (warehouse / "foreign.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main()
