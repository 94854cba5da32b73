"""Another client of a catalog: counts the rows of a table, with every engine that can open this catalog, and appends two.

    other_client.py append|count (--rest URL | --sql URI | --s3-tables URL) NAMESPACE TABLE ROWS
"""

import argparse
import importlib
import pathlib

import pyarrow as pa
from pyiceberg.catalog import load_catalog

S3_TABLES = {
    "warehouse": "arn:aws:s3tables:us-east-1:111122223333:bucket/suite",
    "rest.sigv4-enabled": "true",
    "rest.signing-name": "s3tables",
    "rest.signing-region": "us-east-1",
    "client.access-key-id": "suite",
    "client.secret-access-key": "suite-secret",
}


def open_catalog(options):
    if options.s3_tables:
        return load_catalog("suite", type="rest", uri=f"{options.s3_tables}/iceberg", **S3_TABLES)
    if options.rest:
        return load_catalog("suite", type="rest", uri=options.rest)
    return load_catalog("suite", type="sql", uri=options.sql)


def count_with_duckdb(options):
    import duckdb

    database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        module = importlib.import_module(f"duckdb_extension_{name}")
        (path,) = pathlib.Path(module.__path__[0]).rglob(f"{name}.duckdb_extension")
        database.execute(f"LOAD '{path}'")
    database.execute(
        f"ATTACH 'suite' AS suite (TYPE iceberg, ENDPOINT '{options.rest}', AUTHORIZATION_TYPE 'none')"
    )
    name = f'suite."{options.namespace}"."{options.table}"'
    return database.execute(f"SELECT count(*), count(DISTINCT id) FROM {name}").fetchone()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["append", "count"])
    parser.add_argument("--rest")
    parser.add_argument("--sql")
    parser.add_argument("--s3-tables")
    parser.add_argument("namespace")
    parser.add_argument("table")
    parser.add_argument("rows", type=int)
    options = parser.parse_args()

    table = open_catalog(options).load_table((options.namespace, options.table))
    rows = table.scan().to_arrow()
    assert rows.num_rows == options.rows, f"PyIceberg reads {rows.num_rows} rows, not {options.rows}"
    print(f"PyIceberg reads {rows.num_rows} rows")
    if options.rest:
        counted = count_with_duckdb(options)
        assert counted == (options.rows, options.rows), f"DuckDB reads {counted}, not {options.rows}"
        print(f"DuckDB reads {counted[0]} rows")
    if options.command == "append":
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("value", pa.string())])
        table.append(pa.table({"id": [-1, -2], "value": ["theirs", None]}, schema=schema))
        print("PyIceberg appends 2 rows")


if __name__ == "__main__":
    main()
