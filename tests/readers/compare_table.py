"""Reads an Iceberg table with engines that are not ours and compares every snapshot with what it must hold.

    python compare_table.py TABLE_DIRECTORY EXPECTED.json

EXPECTED.json is {"columns": [name, ...], "snapshots": {id: [row, ...]}, "head": [row, ...]}; a row is a list of values, an
integer, boolean or null as itself and everything else as text: floats as Python prints them, decimals in plain digits, times in
ISO 8601 with microseconds, bytes in hexadecimal. Rows are compared as a multiset. The exit code is the number of differences.

Needs the packages of tests/requirements.txt; nothing is fetched from a network.
"""

import collections
import datetime
import decimal
import importlib
import json
import pathlib
import sys
import uuid

import duckdb
from pyiceberg.table import StaticTable
from pyiceberg.types import UUIDType


def canonical(value):
    match value:
        case None | bool() | int():
            return value
        case float():
            return repr(value)
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            in_utc = value.astimezone(datetime.timezone.utc) if value.tzinfo else value
            return in_utc.isoformat(timespec="microseconds")
        case datetime.time():
            return value.isoformat(timespec="microseconds")
        case datetime.date():
            return value.isoformat()
        case bytes() | bytearray():
            return value.hex()
        case _:
            return str(value)


def newest_metadata(table):
    hint = (table / "metadata" / "version-hint.text").read_text().strip()
    return table / "metadata" / f"v{hint}.metadata.json"


class PyIceberg:
    def __init__(self, table):
        self.table = StaticTable.from_metadata(str(newest_metadata(table)))
        self.uuids = {field.name for field in self.table.schema().fields if isinstance(field.field_type, UUIDType)}

    def rows(self, columns, snapshot=None):
        found = self.table.scan(selected_fields=tuple(columns), snapshot_id=snapshot).to_arrow().to_pylist()
        return [[self.value(name, row[name]) for name in columns] for row in found]

    def value(self, name, value):
        return uuid.UUID(bytes=value) if name in self.uuids and isinstance(value, bytes) else value


class DuckDb:
    def __init__(self, table):
        self.table = table
        self.connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        for name in ("avro", "httpfs", "iceberg"):
            package = pathlib.Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
            extension = next(package.glob(f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"))
            self.connection.execute(f"LOAD '{extension}'")
        self.connection.execute("SET TimeZone = 'UTC'")
        # With its cache, DuckDB 1.5.5 takes one deletion vector of a Puffin file for another when a second snapshot is read.
        self.connection.execute("SET enable_external_file_cache = false")

    def rows(self, columns, snapshot=None):
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        at = f", snapshot_from_id = {snapshot}" if snapshot is not None else ""
        path = str(self.table).replace("'", "''")
        return self.connection.execute(f"SELECT {names} FROM iceberg_scan('{path}'{at})").fetchall()


def multiset(rows):
    return collections.Counter(json.dumps([canonical(value) for value in row]) for row in rows)


def difference(engine, where, found, wanted):
    found, wanted = multiset(found), multiset(wanted)
    if found == wanted:
        return 0
    print(f"{engine}, {where}: {found.total()} rows, {wanted.total()} expected")
    for row in list((wanted - found).elements())[:5]:
        print(f"  missing    {row}")
    for row in list((found - wanted).elements())[:5]:
        print(f"  unexpected {row}")
    return 1


def main():
    table, expected = pathlib.Path(sys.argv[1]).absolute(), json.loads(pathlib.Path(sys.argv[2]).read_text())
    differences = compared = 0
    for reader in (PyIceberg(table), DuckDb(table)):
        engine = type(reader).__name__
        states = [("head", None, expected["head"])]
        states += [(f"snapshot {id}", int(id), rows) for id, rows in expected["snapshots"].items()]
        for where, snapshot, wanted in states:
            differences += difference(engine, where, reader.rows(expected["columns"], snapshot), wanted)
            compared += 1
    print(f"{compared} states compared, {differences} differ")
    sys.exit(min(differences, 100))


if __name__ == "__main__":
    main()
