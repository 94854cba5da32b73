"""Runs the conformance list with pymssql, python-tds or mssql-python. Usage: python_clients.py CLIENT JOB.json

Knows no expectation: prints one line of JSON for each case with what the client gave, in the text forms of README.md.
"""

import datetime as dt
import decimal
import json
import re
import sys
import threading
import uuid

CANCEL_AFTER = 1


def text(value):
    """A value's text form."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return "0x" + value.hex().upper()
    if isinstance(value, uuid.UUID):
        return str(value).upper()
    if isinstance(value, dt.datetime):
        zone = ""
        if value.tzinfo is not None:
            minutes = int(value.utcoffset().total_seconds() // 60)
            zone = f" {'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        return f"{text(value.date())} {text(value.time())}{zone}"
    if isinstance(value, dt.date):
        return f"{value.year:04}-{value.month:02}-{value.day:02}"
    if isinstance(value, dt.time):
        return f"{value.hour:02}:{value.minute:02}:{value.second:02}.{value.microsecond:06}"
    return str(value)


def zoned(form):
    """A datetimeoffset's text form as a datetime."""
    moment, zone = form.rsplit(" ", 1)
    sign = -1 if zone[0] == "-" else 1
    offset = sign * dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return plain(moment).replace(tzinfo=dt.timezone(offset))


def plain(form):
    """A datetime's text form as a datetime; Python keeps six digits of the fraction."""
    whole, _, fraction = form.partition(".")
    microsecond = int((fraction + "000000")[:6])
    return dt.datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(microsecond=microsecond)


def native(parameter):
    """The Python value that a user would bind for a parameter's text form."""
    family, form = re.match(r"\w+", parameter["type"]).group(), parameter["value"]
    if form is None:
        return None
    if family == "bit":
        return form == "1"
    if family in ("tinyint", "smallint", "int", "bigint"):
        return int(form)
    if family in ("decimal", "numeric", "money", "smallmoney"):
        return decimal.Decimal(form)
    if family in ("float", "real"):
        return float(form)
    if family in ("binary", "varbinary", "image"):
        return bytes.fromhex(form[2:])
    if family == "date":
        return dt.date.fromisoformat(form)
    if family == "time":
        return plain(f"1900-01-01 {form}").time()
    if family in ("datetime", "datetime2", "smalldatetime"):
        return plain(form)
    if family == "datetimeoffset":
        return zoned(form)
    if family == "uniqueidentifier":
        return uuid.UUID(form)
    return form


class Client:
    """What the three have in common: DB-API."""

    placeholder = "?"

    def __init__(self, job):
        self.job = job

    def bind(self, sql, values):
        """The statement with this client's placeholders, and the values in the order of their appearance."""
        order = []

        def one(found):
            order.append(self.parameter(values[int(found.group(1)) - 1]))
            return self.placeholder

        if self.placeholder == "%s":
            sql = sql.replace("%", "%%")
        return re.sub(r"@p(\d+)", one, sql), tuple(order)

    def parameter(self, parameter):
        return native(parameter)

    def run(self, connection, sql, parameters=None):
        cursor = connection.cursor()
        outcome = {"results": [], "counts": []}
        try:
            if parameters is None:
                self.execute(cursor, sql)
            else:
                self.execute(cursor, *self.bind(sql, parameters))
            self.drain(cursor, outcome)
        except Exception as error:  # every client has its own hierarchy
            outcome["error"] = self.failure(error)
        finally:
            cursor.close()
        return outcome

    def execute(self, cursor, sql, values=None):
        if values is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, values)

    def drain(self, cursor, outcome):
        while True:
            if cursor.description:
                outcome["results"].append([[text(value) for value in row] for row in cursor.fetchall()])
            else:
                outcome["counts"].append(cursor.rowcount if cursor.rowcount >= 0 else None)
            if not cursor.nextset():
                break

    def abandon(self, connection, cursor):
        """Cancels a result of which rows have been read."""
        cursor.close()

    def cancel(self, step):
        """Runs a long statement under a time limit; the error is that it was not cancelled."""
        connection = self.connect(timeout=CANCEL_AFTER)
        cursor = connection.cursor()
        try:
            cursor.execute(step["sql"])
            if cursor.fetchone() is None:
                return {"error": {"message": "the statement came to its end"}}
            self.abandon(connection, cursor)
        except Exception:  # the time limit
            cursor.close()
        after = self.run(connection, "SELECT 'alive'")
        connection.close()
        return {"results": after["results"], **({"error": after["error"]} if "error" in after else {})}


class Pymssql(Client):
    placeholder = "%s"

    def __init__(self, job):
        super().__init__(job)
        import pymssql

        self.module = pymssql

    def connect(self, database=None, password=None, timeout=0):
        job = self.job
        encryption = {"plain": "off", "tls": "require"}[job["mode"]]
        return self.module.connect(
            server=job["host"], port=str(job["port"]), user=job["user"], password=password or job["password"],
            database=database or job["database"], autocommit=True, login_timeout=10, timeout=timeout, encryption=encryption,
        )

    def failure(self, error):
        number, message = None, str(error)
        arguments = error.args[0] if error.args and isinstance(error.args[0], tuple) else error.args
        if len(arguments) == 2 and isinstance(arguments[0], int):
            number, message = arguments
            message = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        return {"number": number, "message": message}

    def abandon(self, connection, cursor):
        connection._conn.cancel()

    def begin(self, connection, isolation):
        connection.autocommit(False)
        if isolation:
            connection.cursor().execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")

    def end(self, connection, commit):
        connection.commit() if commit else connection.rollback()
        connection.autocommit(True)

    def bulk(self, connection, step):
        rows = [
            tuple(native({"type": column["type"], "value": cell}) for column, cell in zip(step["columns"], row))
            for row in step["load"]
        ]
        # It takes no date.
        at_midnight = lambda cell: dt.datetime(*cell.timetuple()[:3]) if type(cell) is dt.date else cell
        connection.bulk_copy(step["table"], [tuple(at_midnight(cell) for cell in row) for row in rows])
        return {"counts": [len(rows)]}


class PythonTds(Client):
    placeholder = "%s"

    def __init__(self, job):
        super().__init__(job)
        import pytds
        from pytds import tds_base, tds_types

        self.module, self.base, self.types = pytds, tds_base, tds_types

    def connect(self, database=None, password=None, timeout=None):
        job = self.job
        tls = {"cafile": job["authority"], "validate_host": False} if job["mode"] == "tls" else {}
        return self.module.connect(
            dsn=job["host"], port=job["port"], user=job["user"], password=password or job["password"],
            database=database or job["database"], autocommit=True, login_timeout=10, timeout=timeout, **tls,
        )

    def parameter(self, parameter):
        value = native(parameter)
        family = re.match(r"\w+", parameter["type"]).group()
        if isinstance(value, bytes):
            return self.module.Binary(value)
        if family in ("bit", "tinyint", "smallint", "int", "bigint", "money", "smallmoney", "decimal", "numeric", "real"):
            declared = self.types.sql_type_by_declaration(parameter["type"])
            return self.base.Param(type=declared, value=value)
        return value

    def failure(self, error):
        return {"number": getattr(error, "number", None) or None, "message": str(error)}

    def abandon(self, connection, cursor):
        cursor.cancel()

    def begin(self, connection, isolation):
        connection.autocommit = False
        if isolation:
            connection.cursor().execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")

    def end(self, connection, commit):
        connection.commit() if commit else connection.rollback()
        connection.autocommit = True

    def bulk(self, connection, step):
        columns = [
            self.module.Column(column["name"], type=self.types.sql_type_by_declaration(column["type"]))
            for column in step["columns"]
        ]
        rows = [
            [native({"type": column["type"], "value": cell}) for column, cell in zip(step["columns"], row)]
            for row in step["load"]
        ]
        with connection.cursor() as cursor:
            schema, table = step["table"].split(".")
            cursor.copy_to(data=rows, schema=schema, table_or_view=table, columns=columns)
        return {"counts": [len(rows)]}

    def table(self, connection, step):
        columns = [
            self.module.Column(column["name"], type=self.types.sql_type_by_declaration(column["type"]))
            for column in step["columns"]
        ]
        rows = [
            [native({"type": column["type"], "value": cell}) for column, cell in zip(step["columns"], row)]
            for row in step["load"]
        ]
        schema, name = step["table"].split(".")
        value = self.module.TableValuedParam(type_name=f"{schema}.{name}", columns=columns, rows=rows)
        outcome = {"results": [], "counts": []}
        with connection.cursor() as cursor:
            cursor.execute(step["sql"].replace("@p1", "%s"), (value,))
            self.drain(cursor, outcome)
        return outcome


class MssqlPython(Client):
    def __init__(self, job):
        super().__init__(job)
        import mssql_python

        mssql_python.pooling(enabled=False)
        self.module = mssql_python

    def connect(self, database=None, password=None, timeout=0):
        job = self.job
        encrypt = {
            "plain": "Encrypt=no;",
            "tls": "Encrypt=yes;TrustServerCertificate=yes;",
            "strict": f"Encrypt=strict;ServerCertificate={job['certificate']};",
        }[job["mode"]]
        connection = self.module.connect(
            f"Server=tcp:{job['host']},{job['port']};Database={database or job['database']};UID={job['user']};"
            f"PWD={{{password or job['password']}}};{encrypt}",
            autocommit=True,
        )
        connection.timeout = timeout
        return connection

    def failure(self, error):
        return {"number": None, "message": str(error)}

    def begin(self, connection, isolation):
        connection.setautocommit(False)
        if isolation:
            connection.cursor().execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")

    def end(self, connection, commit):
        connection.commit() if commit else connection.rollback()
        connection.setautocommit(True)

    def bulk(self, connection, step):
        rows = [
            tuple(native({"type": column["type"], "value": cell}) for column, cell in zip(step["columns"], row))
            for row in step["load"]
        ]
        result = connection.cursor().bulkcopy(
            step["table"], rows, column_mappings=[column["name"] for column in step["columns"]]
        )
        return {"counts": [result["rows_copied"]]}


CLIENTS = {"pymssql": Pymssql, "python-tds": PythonTds, "mssql-python": MssqlPython}


class Case:
    """One case's sessions."""

    def __init__(self, client):
        self.client, self.connections, self.running = client, {}, {}

    def connection(self, name):
        if name not in self.connections:
            self.connections[name] = self.client.connect()
        return self.connections[name]

    def step(self, step):
        act, on, client = step["do"], step["on"], self.client
        if act == "connect":
            connection = client.connect(database=step["database"], password=step["password"])
            outcome = client.run(connection, step["sql"])
            connection.close()
            return outcome
        if act == "cancel":
            return client.cancel(step)
        if act == "finish":
            thread, outcome = self.running.pop(on)
            thread.join(30)
            return outcome
        connection = self.connection(on)
        if act == "sql":
            return client.run(connection, step["sql"])
        if act == "parameters":
            return client.run(connection, step["sql"], step["parameters"][0])
        if act == "prepare":
            outcomes = [client.run(connection, step["sql"], parameters) for parameters in step["parameters"]]
            failed = [outcome["error"] for outcome in outcomes if "error" in outcome]
            return {
                "results": [result for outcome in outcomes for result in outcome["results"]],
                "counts": [count for outcome in outcomes for count in outcome["counts"]],
                **({"error": failed[0]} if failed else {}),
            }
        if act == "start":
            outcome = {}
            thread = threading.Thread(target=lambda: outcome.update(client.run(connection, step["sql"])))
            thread.start()
            self.running[on] = (thread, outcome)
            return {}
        if act == "begin":
            client.begin(connection, step["isolation"])
        elif act in ("commit", "rollback"):
            client.end(connection, act == "commit")
        elif act == "bulk":
            return client.bulk(connection, step)
        elif act == "table":
            return client.table(connection, step)
        return {}

    def run(self, steps):
        outcomes = []
        for step in steps:
            try:
                outcomes.append(self.step(step))
            except Exception as error:  # every client has its own hierarchy
                outcomes.append({"error": self.client.failure(error)})
        for connection in self.connections.values():
            try:
                connection.close()
            except Exception:
                pass  # an error has closed it already
        return outcomes


def main():
    name, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    client = CLIENTS[name](job)
    for case in job["cases"]:
        outcomes = Case(client).run(case["steps"])
        print(json.dumps({"case": case["case"], "steps": outcomes}), flush=True)


main()
