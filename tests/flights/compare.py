"""Compares every row of a database's tables with what DuckDB and PyIceberg read from the Iceberg tables.

    compare.py --host H --port P --user U --password W --database D --warehouse DIRECTORY TABLE...

The rows of both sides are sorted and compared whole. Ends with 1 at the first table that differs.
"""

import argparse
import datetime
import decimal
import itertools
import pathlib
import sys

import duckdb
import pymssql
from pyiceberg.table import StaticTable


def newest_metadata(table):
    """The metadata file that the version hint names, or a later one."""
    directory = table / "metadata"
    version = int((directory / "version-hint.text").read_text())
    while (directory / f"v{version + 1}.metadata.json").exists():
        version += 1
    return directory / f"v{version}.metadata.json"


def duckdb_connection():
    connection = duckdb.connect()
    for name in ("avro", "httpfs", "iceberg"):
        package = __import__(f"duckdb_extension_{name}")
        extensions = pathlib.Path(package.__path__[0]) / "extensions"
        file = next(extensions.rglob(f"{name}.duckdb_extension"))
        connection.load_extension(str(file))
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def plain(value):
    """One form for a value, whichever library it came through."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if isinstance(value, decimal.Decimal):
        return ("decimal", value.normalize().as_tuple())
    if isinstance(value, float):
        return ("float", value.hex())
    return value


def rows(tuples):
    return sorted((tuple(plain(value) for value in row) for row in tuples), key=repr)


def from_iceberg(columns, arrow):
    return rows(zip(*(arrow.column(name).to_pylist() for name in columns))) if arrow.num_rows else []


def from_sql_server(connection, table):
    cursor = connection.cursor()
    cursor.execute(
        "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
        "WHERE TABLE_SCHEMA = 'dbo' AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        (table,),
    )
    columns = cursor.fetchall()
    listed = ", ".join(
        # The instant, as Iceberg keeps it: the offset is a loss that the configuration allows by name.
        f"CONVERT(datetime2(6), SWITCHOFFSET([{name}], '+00:00')) AS [{name}]" if kind == "datetimeoffset" else f"[{name}]"
        for name, kind in columns
    )
    cursor.execute(f"SELECT {listed} FROM dbo.[{table}]")
    return [name for name, _ in columns], rows(cursor.fetchall())


def differs(expected, found):
    for position, (want, have) in enumerate(itertools.zip_longest(expected, found)):
        if want != have:
            return f"row {position} of {len(expected)} and {len(found)}: {want} against {have}"
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "port", "user", "password", "database", "warehouse"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("tables", nargs="+")
    given = arguments.parse_args()
    server = pymssql.connect(
        server=given.host, port=given.port, user=given.user, password=given.password, database=given.database
    )
    duck = duckdb_connection()
    for table in given.tables:
        columns, expected = from_sql_server(server, table)
        metadata = newest_metadata(pathlib.Path(given.warehouse) / "dbo" / table)
        listed = ", ".join(f'"{name}"' for name in columns)
        found = {
            "DuckDB": duck.execute(f"SELECT {listed} FROM iceberg_scan('{metadata}')").to_arrow_table(),
            "PyIceberg": StaticTable.from_metadata(str(metadata)).scan().to_arrow(),
        }
        for reader, arrow in found.items():
            difference = differs(expected, from_iceberg(columns, arrow))
            if difference:
                sys.exit(f"{table}: {reader} and the database differ at {difference}")
        print(f"{table}: {len(expected)} rows are the same in the database, DuckDB and PyIceberg", flush=True)


if __name__ == "__main__":
    main()
