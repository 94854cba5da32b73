"""Every type at its edges: SQL Server → Iceberg → SQL Server, judged by pymssql, mssql-jdbc and PyIceberg against rows typed by hand.

    probe.py insert  CONNECTION... --java CLASSPATH     rows 1, 2, … by pymssql and rows 101, 102, … by JDBC
    probe.py compare CONNECTION... --java CLASSPATH --target D --warehouse DIRECTORY
"""

import argparse
import datetime
import decimal
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import uuid

import pymssql
from pyiceberg.table import StaticTable

import rows

BY_JDBC = 100  # added to the id of a row that JDBC inserts
READ = [*rows.COLUMNS, rows.ROWVERSION]
ALL = [offset + row for offset in (0, BY_JDBC) for row in rows.ROWS]


def jdbc(given, database, *command):
    url = (
        f"jdbc:sqlserver://{given.host}:{given.port};databaseName={database};user={given.user};password={given.password};"
        "encrypt=true;trustServerCertificate=true"
    )
    run = ["java", "-cp", given.java, "TypesProbe", url, *command]
    return subprocess.run(run, check=True, capture_output=True, encoding="utf-8").stdout


def insert(given):
    connection = pymssql.connect(
        server=given.host, port=given.port, user=given.user, password=given.password, database=given.database, autocommit=True
    )
    cursor = connection.cursor()
    for row in rows.ROWS:
        cursor.execute(rows.insert(row))
    with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as script:
        for row in rows.ROWS:
            script.write(rows.insert(row).replace(f"VALUES ({row},", f"VALUES ({BY_JDBC + row},") + "\n")
        script.flush()
        jdbc(given, given.database, "exec", script.name)


def unescape(field):
    if field == "\\N":
        return None
    out, characters = [], iter(field)
    for character in characters:
        out.append({"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[next(characters)] if character == "\\" else character)
    text = "".join(out)
    if text.startswith("bits:"):
        return struct.unpack(">d", int(text[5:], 16).to_bytes(8, "big"))[0].hex()
    return text


def selected(column):
    if column != rows.VARIANT:
        return column
    return f"CAST(SQL_VARIANT_PROPERTY({column}, 'BaseType') AS nvarchar(20)) + N'|' + CAST({column} AS nvarchar(max)) AS {column}"


def from_jdbc(given, database):
    columns = ", ".join(map(selected, READ))
    dumped = jdbc(given, database, "dump", f"SELECT id, {columns} FROM {rows.TABLE} ORDER BY id")
    lines = [[unescape(field) for field in line.split("\t")] for line in dumped.split("\n")[:-1]]
    return {int(line[0]): line[1:] for line in lines}


def text(value):
    """A value of PyIceberg's as the text that rows.py has."""
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case float():
            return value.hex()
        case bytes():
            return value.hex()
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            zone = "+00:00" if value.tzinfo else ""
            return value.strftime("%Y").zfill(4) + value.strftime("-%m-%dT%H:%M:%S.%f") + zone
        case datetime.date():
            return value.isoformat()
        case datetime.time():
            return value.strftime("%H:%M:%S.%f")
        case uuid.UUID() | int():
            return str(value)
    raise TypeError(f"{value!r} is a {type(value)}")


def from_iceberg(warehouse):
    metadata = pathlib.Path(warehouse) / "dbo"
    (hint,) = metadata.glob("*/metadata/version-hint.text")
    newest = hint.parent / f"v{hint.read_text().strip()}.metadata.json"
    table = StaticTable.from_metadata(str(newest)).scan().to_arrow()
    lines = table.to_pylist()
    for line in lines:
        if line[rows.VARIANT] is not None:
            variant = json.loads(line[rows.VARIANT])
            line[rows.VARIANT] = variant["type"].split("(")[0] + "|" + variant["value"]
    return {line["id"]: [text(line[column]) for column in READ] for line in lines}


def compare(given):
    sides = {
        "the source by JDBC": (from_jdbc(given, given.database), False),
        "Iceberg by PyIceberg": (from_iceberg(given.warehouse), True),
        "the target by JDBC": (from_jdbc(given, given.target), True),
    }
    wrong = 0
    source = sides["the source by JDBC"][0]
    for side, (found, lossy) in sides.items():
        for row in ALL:
            expected = [*rows.expected(row % BY_JDBC, lossy), source[row][-1]]
            for column, want, have in zip(READ, expected, found.get(row, ["(no row)"] * len(READ))):
                if want != have:
                    wrong += 1
                    print(f"{side}, row {row}, {column}: {have!r:.120} instead of {want!r:.120}")
        wrong += len(found.keys() - set(ALL))
    if wrong:
        sys.exit(f"{wrong} values are not what they should be")
    print(f"{len(ALL)} rows of {len(READ)} types are exact in the source, Iceberg and the target", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("command", choices=["insert", "compare"])
    for name in ("host", "port", "user", "password", "database", "java"):
        arguments.add_argument(f"--{name}", required=True)
    arguments.add_argument("--target")
    arguments.add_argument("--warehouse")
    given = arguments.parse_args()
    insert(given) if given.command == "insert" else compare(given)


if __name__ == "__main__":
    main()
