"""The rows of `Every type`: each value as the T-SQL literal that is inserted, and as it must come out, typed by hand.

What comes out is text: numbers as SQL Server prints them with the column's scale, floats as Python's `float.hex()` of the value
(of a `real`, of its single-precision value), times in ISO form with six digits, bytes in hex. A pair means that Iceberg (and so the
target) keeps less than the source: (source, Iceberg).
"""

LOSES_DIGIT_7 = "datetime2_7 and time_7 are allowed losses"
LOSES_OFFSET = "datetimeoffset_offset is an allowed loss"

COLUMNS = [
    "c_bit", "c_tinyint", "c_smallint", "c_int", "c_bigint", "c_dec38_0", "c_dec38_38", "c_num9_2", "c_num19_4", "c_money",
    "c_smallmny", "c_real", "c_float", "c_date", "c_time0", "c_time7", "c_smalldt", "c_datetime", "c_dt2_0", "c_dt2_3",
    "c_dt2_7", "c_dto_0", "c_dto_7", "c_char", "c_varchar", "c_varmax", "c_nchar", "c_nvarchar", "c_nvarmax", "c_text", "c_ntext",
    "c_binary", "c_varbinary", "c_varbinmax", "c_image", "c_guid", "c_xml", "c_cyrillic", "c_japanese", "c_utf8",
    "c_variant", "c_hierarchy", "c_geometry", "c_geography", "c_json",
]

# A variant comes out as its base type and its value; hierarchyid and shapes as their serialised bytes, typed by hand after [MS-SSCLRT].
VARIANT = "c_variant"
POINT = "010C00000000000008400000000000001040"

# The server gives it its value, so there is none to type: it must be the same everywhere.
ROWVERSION = "c_rowversion"

NINES = "9" * 38


def sparse(**given):
    """A row with these columns, and NULL in all others."""
    return [given.get(column, ("NULL", None)) for column in COLUMNS]


# id -> [(literal, expected)] in the order of COLUMNS
ROWS = {
    1: [("NULL", None)] * len(COLUMNS),
    2: [  # the least of everything
        ("0", "false"), ("0", "0"), ("-32768", "-32768"), ("-2147483648", "-2147483648"),
        ("-9223372036854775808", "-9223372036854775808"), (f"-{NINES}", f"-{NINES}"), (f"-0.{NINES}", f"-0.{NINES}"),
        ("-9999999.99", "-9999999.99"), ("-999999999999999.9999", "-999999999999999.9999"),
        ("-922337203685477.5808", "-922337203685477.5808"), ("-214748.3648", "-214748.3648"),
        ("CAST(-3.4028234663852886E38 AS real)", "-0x1.fffffe0000000p+127"), ("-1.7976931348623157E308", "-0x1.fffffffffffffp+1023"),
        ("'0001-01-01'", "0001-01-01"), ("'00:00:00'", "00:00:00.000000"), ("'00:00:00.0000000'", "00:00:00.000000"),
        ("'1900-01-01T00:00:00'", "1900-01-01T00:00:00.000000"), ("'1753-01-01T00:00:00.000'", "1753-01-01T00:00:00.000000"),
        ("'0001-01-01T00:00:00'", "0001-01-01T00:00:00.000000"), ("'0001-01-01T00:00:00.000'", "0001-01-01T00:00:00.000000"),
        ("'0001-01-01T00:00:00.0000000'", "0001-01-01T00:00:00.000000"),
        ("'0001-01-01T00:00:00+00:00'", "0001-01-01T00:00:00.000000+00:00"),
        ("'0001-01-01T14:00:00.0000000+14:00'", ("0001-01-01T14:00:00.000000+14:00", "0001-01-01T00:00:00.000000+00:00")),
        ("''", "     "), ("''", ""), ("''", ""), ("N''", "     "), ("N''", ""), ("N''", ""), ("''", ""), ("N''", ""),
        ("0x", "00000000"), ("0x", ""), ("0x", ""), ("0x", ""),
        ("'00000000-0000-0000-0000-000000000000'", "00000000-0000-0000-0000-000000000000"), ("N''", ""),
        ("''", ""), ("''", ""), ("''", ""),
        ("CAST('' AS varchar(1))", "varchar|"), ("0x", ""), (f"0x00000000{POINT}", f"00000000{POINT.lower()}"),
        (f"0xE6100000{POINT}", f"e6100000{POINT.lower()}"), ("N'{ }'", "{}"),
    ],
    3: [  # the greatest of everything
        ("1", "true"), ("255", "255"), ("32767", "32767"), ("2147483647", "2147483647"),
        ("9223372036854775807", "9223372036854775807"), (NINES, NINES), (f"0.{NINES}", f"0.{NINES}"),
        ("9999999.99", "9999999.99"), ("999999999999999.9999", "999999999999999.9999"),
        ("922337203685477.5807", "922337203685477.5807"), ("214748.3647", "214748.3647"),
        ("CAST(3.4028234663852886E38 AS real)", "0x1.fffffe0000000p+127"), ("1.7976931348623157E308", "0x1.fffffffffffffp+1023"),
        ("'9999-12-31'", "9999-12-31"), ("'23:59:59'", "23:59:59.000000"),
        ("'23:59:59.9999999'", ("23:59:59.9999999", "23:59:59.999999")),
        ("'2079-06-06T23:59:00'", "2079-06-06T23:59:00.000000"), ("'9999-12-31T23:59:59.997'", "9999-12-31T23:59:59.997000"),
        ("'9999-12-31T23:59:59'", "9999-12-31T23:59:59.000000"), ("'9999-12-31T23:59:59.999'", "9999-12-31T23:59:59.999000"),
        ("'9999-12-31T23:59:59.9999999'", ("9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59.999999")),
        ("'9999-12-31T23:59:59+00:00'", "9999-12-31T23:59:59.000000+00:00"),
        ("'9999-12-31T09:59:59.9999999-14:00'", ("9999-12-31T09:59:59.9999999-14:00", "9999-12-31T23:59:59.999999+00:00")),
        ("'zzzzz'", "zzzzz"), ("'" + "z" * 20 + "'", "z" * 20), ("REPLICATE(CAST('ab' AS varchar(max)), 5000)", "ab" * 5000),
        ("N'東京都庁前'", "東京都庁前"), ("N'" + "ß" * 20 + "'", "ß" * 20),
        ("REPLICATE(CAST(N'日本' AS nvarchar(max)), 5000)", "日本" * 5000), ("'text'", "text"), ("N'ntext 𝒳'", "ntext 𝒳"),
        ("0xFFFFFFFF", "ffffffff"), ("0x" + "FF" * 20, "ff" * 20), ("CAST(REPLICATE(CAST('x' AS varchar(max)), 9000) AS varbinary(max))", "78" * 9000),
        ("0xDEADBEEF", "deadbeef"), ("'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF'", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("N'<a b=\"1\">x &amp; y</a>'", '<a b="1">x &amp; y</a>'),
        ("N'" + "Я" * 20 + "'", "Я" * 20), ("REPLICATE(CAST(N'あ' AS nvarchar(max)), 4000)", "あ" * 4000), ("N'" + "𝒳" * 5 + "'", "𝒳" * 5),
        ("CAST('" + "z" * 8000 + "' AS varchar(8000))", "varchar|" + "z" * 8000), ("0x5AD6", "5ad6"),
        (f"0xFFFFFFFF{POINT}", f"ffffffff{POINT.lower()}"), (f"0xE6100000{POINT}", f"e6100000{POINT.lower()}"),
        ('N\'{"a": [1, 2.50, null], "東京": "京 "}\'', '{"a":[1,2.50,null],"東京":"京 "}'),
    ],
    4: [  # the odd ones: thirds of a millisecond, offsets, blanks, NULs, astral characters, money beyond a double's digits
        ("1", "true"), ("128", "128"), ("-1", "-1"), ("-1", "-1"), ("-1", "-1"), ("1", "1"), ("0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000001"),
        ("-0.01", "-0.01"), ("0.0001", "0.0001"), ("900719925474099.2999", "900719925474099.2999"), ("-0.0001", "-0.0001"),
        ("CAST(0.1 AS real)", "0x1.99999a0000000p-4"), ("0.1E0", "0x1.999999999999ap-4"), ("'1582-10-10'", "1582-10-10"),
        ("'12:34:56'", "12:34:56.000000"), ("'12:34:56.7891230'", "12:34:56.789123"),
        ("'2026-11-21T12:34:00'", "2026-11-21T12:34:00.000000"), ("'2026-11-21T12:34:56.003'", "2026-11-21T12:34:56.003000"),
        ("'1969-12-31T23:59:59'", "1969-12-31T23:59:59.000000"), ("'1969-12-31T23:59:59.999'", "1969-12-31T23:59:59.999000"),
        ("'1969-12-31T23:59:59.9999990'", "1969-12-31T23:59:59.999999"),
        ("'2026-03-29T02:30:00+05:30'", ("2026-03-29T02:30:00.000000+05:30", "2026-03-28T21:00:00.000000+00:00")),
        ("'2026-03-29T02:30:00.1234560-03:30'", ("2026-03-29T02:30:00.123456-03:30", "2026-03-29T06:00:00.123456+00:00")),
        ("'a b'", "a b  "), ("'trailing  '", "trailing  "), ("'line' + CHAR(13) + CHAR(10) + CHAR(9) + 'tab'", "line\r\n\ttab"),
        ("N'é'", "é    "), ("N'𝒳' + NCHAR(0) + N' '", "𝒳\x00 "), ("N'👩‍👩‍👧'", "👩‍👩‍👧"), ("'€ – “quoted”'", "€ – “quoted”"), ("N'  '", "  "),
        ("0x01", "01000000"), ("0x0100", "0100"), ("0x00", "00"), ("0x00FF00", "00ff00"),
        ("'00112233-4455-6677-8899-AABBCCDDEEFF'", "00112233-4455-6677-8899-aabbccddeeff"), ("N'<r>東京</r>'", "<r>東京</r>"),
        ("N'Ёж №5'", "Ёж №5"), ("N'ｶﾅ and 漢字'", "ｶﾅ and 漢字"), ("N'é€ 東 '", "é€ 東 "),
        ("CAST(-1.50 AS decimal(9,2))", "decimal|-1.50"), ("0x58", "58"), ("NULL", None), ("NULL", None), ('N\'["a\\u00e9"]\'', '["aé"]'),
    ],
    5: sparse(  # the least that is not zero, between NULLs
        c_real=("CAST(1.1754943508222875E-38 AS real)", "0x1.0000000000000p-126"),
        c_float=("2.2250738585072014E-308", "0x1.0000000000000p-1022"),
        c_time7=("'00:00:00.0000001'", ("00:00:00.0000001", "00:00:00.000000")),
        c_datetime=("'1753-01-01T00:00:00.003'", "1753-01-01T00:00:00.003000"),
        c_dt2_7=("'0001-01-01T00:00:00.0000001'", ("0001-01-01T00:00:00.0000001", "0001-01-01T00:00:00.000000")),
        c_nvarchar=("N' '", " "),
        c_varbinary=("0x00", "00"),
        c_variant=("CAST(N'Ж \"' AS nvarchar(9))", 'nvarchar|Ж "'),
    ),
}

TABLE = "dbo.[Every type]"


def insert(row):
    """The statement that inserts a row by literals."""
    values = ", ".join(literal for literal, _ in ROWS[row])
    return f"INSERT INTO {TABLE} (id, {', '.join(COLUMNS)}) VALUES ({row}, {values})"


def expected(row, lossy):
    """The row as text, from the source or (lossy) from Iceberg and the target."""
    return [pair[lossy] if isinstance(pair, tuple) else pair for _, pair in ROWS[row]]


for number, values in ROWS.items():
    assert len(values) == len(COLUMNS), f"row {number} has {len(values)} values for {len(COLUMNS)} columns"
