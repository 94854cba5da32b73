"""The emulator, driven by pymssql (FreeTDS) and python-tds. Usage: python_clients.py PATH-OF-THE-EMULATOR"""

import contextlib
import datetime as dt
import decimal
import json
import subprocess
import sys
import tempfile
import unittest
import uuid

import pymssql
import pytds

EMULATOR = sys.argv.pop(1) if len(sys.argv) > 1 else "target/debug/sqlserver-emulator"
PASSWORD = "Emulator!2022"


@contextlib.contextmanager
def emulator(*options):
    with tempfile.NamedTemporaryFile(suffix=".pem") as ca:
        command = [EMULATOR, "--listen", "127.0.0.1:0", "--database", "Source", "--ca-file", ca.name, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            facts = json.loads(process.stdout.readline())
            yield facts["port"], ca.name
        finally:
            process.terminate()
            process.wait(10)
            process.stdout.close()


def pymssql_connect(port, password=PASSWORD, database="Source", **more):
    return pymssql.connect(
        server="127.0.0.1", port=str(port), user="sa", password=password, database=database, login_timeout=5, **more
    )


def pytds_connect(port, password=PASSWORD, database="Source", host="127.0.0.1", **more):
    return pytds.connect(
        dsn=host, port=port, user="sa", password=password, database=database, login_timeout=10, **more
    )


def one(connection, sql, parameters=()):
    cursor = connection.cursor()
    cursor.execute(sql, parameters)
    return cursor.fetchone()[0]


class Logins(unittest.TestCase):
    def test_encryption(self):
        for options, encryption, works in [
            ((), "off", True),
            ((), "request", True),
            ((), "require", True),
            (("--tls",), "off", True),
            (("--tls",), "require", True),
            (("--no-tls",), "off", True),
            (("--no-tls",), "require", False),
        ]:
            with self.subTest(options=options, encryption=encryption), emulator(*options) as (port, _):
                if works:
                    with pymssql_connect(port, encryption=encryption) as connection:
                        self.assertEqual(one(connection, "SELECT 1"), 1)
                else:
                    self.assertRaises(pymssql.OperationalError, pymssql_connect, port, encryption=encryption)

    def test_python_tds_checks_the_certificate(self):
        with emulator() as (port, ca):
            for login_only in (False, True):
                more = {"host": "localhost", "cafile": ca, "validate_host": True, "enc_login_only": login_only}
                with self.subTest(login_only=login_only), pytds_connect(port, **more) as connection:
                    self.assertEqual(one(connection, "SELECT 1"), 1)
        with emulator("--host-name", "elsewhere.example") as (port, ca):
            with self.assertRaisesRegex(pytds.Error, "does not match host name"):
                pytds_connect(port, host="localhost", cafile=ca, validate_host=True)

    def test_refusals(self):
        with emulator() as (port, _):
            with self.assertRaisesRegex(pymssql.OperationalError, "Login failed for user 'sa'"):
                pymssql_connect(port, password="wrong")
            with self.assertRaisesRegex(pytds.Error, "Login failed for user 'sa'"):
                pytds_connect(port, password="wrong")
            self.assertRaises(pymssql.OperationalError, pymssql_connect, port, database="nowhere")
            with self.assertRaisesRegex(pytds.Error, "Cannot open database|Login failed"):
                pytds_connect(port, database="nowhere")


VALUES = [
    ("bit", "1", True),
    ("tinyint", "255", 255),
    ("smallint", "-32768", -32768),
    ("int", "2147483647", 2147483647),
    ("bigint", "-9223372036854775808", -9223372036854775808),
    ("decimal(38,10)", "'-1234567890123456789012345678.0123456789'", decimal.Decimal("-1234567890123456789012345678.0123456789")),
    ("money", "'-922337203685477.5808'", decimal.Decimal("-922337203685477.5808")),
    ("smallmoney", "214748.3647", decimal.Decimal("214748.3647")),
    ("real", "0.5", 0.5),
    ("float", "-1.5E-300", -1.5e-300),
    ("date", "'9999-12-31'", dt.date(9999, 12, 31)),
    ("time(6)", "'23:59:59.999999'", dt.time(23, 59, 59, 999999)),
    ("datetime", "'1753-01-01T00:00:00'", dt.datetime(1753, 1, 1)),
    ("smalldatetime", "'2079-06-06T23:59:00'", dt.datetime(2079, 6, 6, 23, 59)),
    ("datetime2(3)", "'0001-01-01T00:00:00.001'", dt.datetime(1, 1, 1, 0, 0, 0, 1000)),
    ("char(3)", "'a'", "a  "),
    ("varchar(20)", "'é€'", "é€"),
    ("nvarchar(20)", "N'Ж😀'", "Ж😀"),
    ("nvarchar(max)", "REPLICATE(CAST(N'ü' AS nvarchar(max)), 20000)", "ü" * 20000),
    ("text", "'long text'", "long text"),
    ("ntext", "N'Ж'", "Ж"),
    ("image", "0x00FF", b"\x00\xff"),
    ("binary(4)", "0x01", b"\x01\x00\x00\x00"),
    ("varbinary(max)", "0x", b""),
    ("uniqueidentifier", "'00112233-4455-6677-8899-AABBCCDDEEFF'", uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    ("xml", "'<a/>'", "<a/>"),
]


class Values(unittest.TestCase):
    def check(self, connect):
        with emulator() as (port, _), connect(port) as connection:
            for declared, literal, expect in VALUES:
                with self.subTest(declared=declared):
                    self.assertEqual(one(connection, f"SELECT CAST({literal} AS {declared})"), expect)
                    self.assertIsNone(one(connection, f"SELECT CAST(NULL AS {declared})"))

    def test_pymssql(self):
        self.check(pymssql_connect)

    def test_python_tds(self):
        self.check(pytds_connect)

    def test_parameters(self):
        values = [1, -(2**63), "ünïcode 😀", "x" * 9000, pytds.Binary(b"\x00\x01"), decimal.Decimal("-12.345"), dt.date(2024, 2, 29), 1.25, None]
        values += [dt.datetime(2024, 2, 29, 12, 34, 56, 789000), uuid.UUID(int=5), True]
        with emulator() as (port, _), pytds_connect(port) as connection:
            for value in values:
                with self.subTest(value=value):
                    self.assertEqual(one(connection, "SELECT %s", (value,)), value)


class Transactions(unittest.TestCase):
    def check(self, connect):
        with emulator() as (port, _), connect(port) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, v nvarchar(10) NULL)")
            connection.commit()
            cursor.execute("INSERT INTO dbo.t VALUES (1, N'a')")
            connection.rollback()
            cursor.execute("INSERT INTO dbo.t VALUES (2, N'b'), (3, NULL)")
            self.assertEqual(cursor.rowcount, 2)
            connection.commit()
            with self.assertRaisesRegex(Exception, "PRIMARY KEY"):
                cursor.execute("INSERT INTO dbo.t VALUES (2, N'again')")
            connection.rollback()
            cursor.execute("SELECT id, v FROM dbo.t ORDER BY id")
            self.assertEqual([tuple(row) for row in cursor.fetchall()], [(2, "b"), (3, None)])

    def test_pymssql(self):
        self.check(pymssql_connect)

    def test_python_tds(self):
        self.check(pytds_connect)

    def test_bulk_load(self):
        rows = [(i, f"näme {i}" if i % 3 else None, decimal.Decimal(i) / 100) for i in range(2000)]
        create = "CREATE TABLE dbo.b (id int NOT NULL, name nvarchar(50) NULL, amount decimal(18,2) NULL)"
        with emulator() as (port, _):
            with pymssql_connect(port, autocommit=True) as connection:
                connection.cursor().execute(create)
                connection.bulk_copy("dbo.b", [(i, name) for i, name, _ in rows], column_ids=[1, 2])
                self.assertEqual(one(connection, "SELECT COUNT(*) FROM dbo.b"), 2000)
                connection.cursor().execute("TRUNCATE TABLE dbo.b")
            with pytds_connect(port, autocommit=True) as connection:
                columns = [
                    pytds.Column("id", type=pytds.tds_types.IntType(), flags=0),
                    pytds.Column("name", type=pytds.tds_types.NVarCharType(50)),
                    pytds.Column("amount", type=pytds.tds_types.DecimalType(precision=18, scale=2)),
                ]
                cursor = connection.cursor()
                cursor.copy_to(data=rows, table_or_view="b", schema="dbo", columns=columns)
                cursor.execute("SELECT id, name, amount FROM dbo.b ORDER BY id")
                self.assertEqual([tuple(row) for row in cursor.fetchall()], rows)


if __name__ == "__main__":
    unittest.main()
