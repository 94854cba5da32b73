"""Writes a table by PyIceberg and what PyIceberg reads of it.

    py_iceberg.py WAREHOUSE

The table is WAREHOUSE/py/t: partitioned, with a column of every type in use, rows appended, overwritten and deleted, and its schema
changed on the way. Its head, as PyIceberg reads it, is WAREHOUSE/expected.parquet.
"""

import datetime as dt
import decimal
import pathlib
import shutil
import sys
import tempfile
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

SCHEMA = Schema(
    NestedField(1, "id", IntegerType(), required=True),
    NestedField(2, "region", StringType()),
    NestedField(3, "flag", BooleanType()),
    NestedField(4, "small", FloatType()),
    NestedField(5, "large", DoubleType()),
    NestedField(6, "price", DecimalType(9, 2)),
    NestedField(7, "day", DateType()),
    NestedField(8, "at", TimeType()),
    NestedField(9, "made", TimestampType()),
    NestedField(10, "sent", TimestamptzType()),
    NestedField(11, "raw", BinaryType()),
    NestedField(12, "token", UUIDType()),
    identifier_field_ids=[1],
)


def row(i, **extra):
    second = dt.datetime(1969, 12, 31, 23, 59, 59, i) + dt.timedelta(days=i * 40)
    values = {
        "id": i,
        "region": ["", "north", None][i % 3],
        "flag": i % 2 == 0,
        "small": i / 4,
        "large": i / 3,
        "price": decimal.Decimal(i) / 4,
        "day": second.date(),
        "at": second.time(),
        "made": second,
        "sent": second.replace(tzinfo=dt.timezone.utc),
        "raw": bytes([i % 256, 0]),
        "token": uuid.UUID(int=i).bytes,
    }
    if i % 7 == 0:
        values = {name: value if name == "id" else None for name, value in values.items()}
    return values | extra


def rows(table, values):
    return pa.Table.from_pylist(values, schema=table.schema().as_arrow())


def build(warehouse, scratch):
    catalog = SqlCatalog("scratch", uri=f"sqlite:///{scratch}/catalog.db", warehouse=f"file://{warehouse}")
    catalog.create_namespace("py")
    spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "region"))
    directory = warehouse / "py" / "t"
    table = catalog.create_table("py.t", SCHEMA, location=f"file://{directory}", partition_spec=spec)
    table.append(rows(table, [row(i) for i in range(40)]))
    table.append(rows(table, [row(i) for i in range(40, 60)]))
    table.delete("id >= 10 and id < 20")
    with table.update_schema() as update:
        update.rename_column("flag", "is_open")
        update.update_column("id", LongType())
        update.update_column("small", DoubleType())
        update.update_column("price", DecimalType(18, 2))
        update.add_column("note", StringType())
        update.delete_column("raw")
    renamed = [row(i, note=f"note {i}") for i in range(60, 70)]
    for values in renamed:
        values["is_open"] = values.pop("flag")
        del values["raw"]
    table.append(rows(table, renamed))
    table.overwrite(rows(table, renamed[:1] + [renamed[1] | {"note": None}]), overwrite_filter="id >= 60 and id < 63")
    return directory, table


def main():
    warehouse = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        directory, table = build(warehouse, scratch)
    pq.write_table(table.scan().to_arrow(), warehouse / "expected.parquet")
    shutil.copyfile(table.metadata_location.removeprefix("file://"), directory / "metadata" / "v1.metadata.json")
    (directory / "metadata" / "version-hint.text").write_text("1")


if __name__ == "__main__":
    main()
