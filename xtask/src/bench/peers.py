"""Moves one table with a tool of others: peers.py NAME --out DIR --table T --host H --port P --user U --password W --database D.

Prints one line of JSON: its own seconds and CPU seconds, from after the imports to the end.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

ZSTD = {"write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "3"}


def cpu():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def append(table, out):
    """Commits an Arrow table to a new Iceberg table."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("bench", uri=f"sqlite:///{out}/catalog.db", warehouse=f"file://{out}/warehouse")
    catalog.create_namespace("dbo")
    catalog.create_table("dbo.t", schema=table.schema, properties=ZSTD).append(table)


def mssql_python(options):
    import mssql_python
    import pyiceberg.catalog.sql  # noqa: F401
    import pyarrow  # noqa: F401

    def run():
        connection = mssql_python.connect(
            f"SERVER={options.host},{options.port};DATABASE={options.database};UID={options.user};"
            f"PWD={options.password};Encrypt=no;TrustServerCertificate=yes"
        )
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM dbo.{options.table}")
        append(cursor.arrow(), options.out)

    return run


def url(options, scheme, tail=""):
    return f"{scheme}://{options.user}:{options.password.replace('!', '%21')}@{options.host}:{options.port}/{tail}"


def connectorx(options):
    import connectorx
    import pyiceberg.catalog.sql  # noqa: F401

    def run():
        table = connectorx.read_sql(
            url(options, "mssql", f"{options.database}?trust_server_certificate=true"),
            f"SELECT * FROM dbo.{options.table}",
            return_type="arrow",
            partition_on=options.key,
            partition_num=4,
        )
        append(table, options.out)

    return run


def dlt(options):
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = f"file://{options.out}/warehouse"
    import connectorx
    import dlt

    # What dlt's own sql_table does with its connectorx backend, without reflection through SQLAlchemy.
    @dlt.resource(name=options.table)
    def rows():
        yield connectorx.read_sql(
            url(options, "mssql", f"{options.database}?trust_server_certificate=true"),
            f"SELECT * FROM dbo.{options.table}",
            return_type="arrow",
        )

    def run():
        pipeline = dlt.pipeline("bench", destination="filesystem", dataset_name="dbo", pipelines_dir=f"{options.out}/p")
        pipeline.run(rows, table_format="iceberg", write_disposition="replace").raise_on_failed_jobs()

    return run


def sling(options):
    import sling_linux_amd64

    folder = pathlib.Path(sling_linux_amd64.__file__).parent
    program = next(path for path in folder.rglob("sling*") if path.is_file() and os.access(path, os.X_OK))
    environment = dict(
        os.environ,
        SLING_DUCKDB_COMPUTE="FALSE",
        SLING_DISABLE_TELEMETRY="TRUE",
        SLING_HOME_DIR=f"{options.out}/home",
        SOURCE=url(options, "sqlserver", f"?database={options.database}&encrypt=disable"),
    )

    def run():
        subprocess.run(
            [
                program,
                "run",
                "--src-conn", "SOURCE",
                "--src-stream", f"dbo.{options.table}",
                "--tgt-object", f"file://{options.out}/{options.table}.parquet",
                "--tgt-options", '{"format": "parquet", "compression": "zstd"}',
            ],
            env=environment,
            check=True,
            stdout=sys.stderr,
        )

    return run


PEERS = {"mssql-python": mssql_python, "connectorx": connectorx, "dlt": dlt, "sling": sling}
KEYS = {"orders": "OrderId", "lineitem": "l_orderkey", "wide": "id", "texts": "id"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    for name in ["out", "table", "host", "port", "user", "password", "database"]:
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    options.key = KEYS[options.table]
    run = PEERS[options.peer](options)
    seconds, before = time.perf_counter(), cpu()
    run()
    print(json.dumps({"seconds": time.perf_counter() - seconds, "cpu_seconds": cpu() - before}))


main()
