ALTER DATABASE Source SET ALLOW_SNAPSHOT_ISOLATION ON;
ALTER DATABASE Source SET CHANGE_TRACKING = ON;
EXEC sys.sp_cdc_enable_db;
CREATE TABLE dbo.t (id int IDENTITY NOT NULL PRIMARY KEY, v int NULL DEFAULT 0, name nvarchar(20) NULL, rv rowversion);
ALTER TABLE dbo.t ENABLE CHANGE_TRACKING WITH (TRACK_COLUMNS_UPDATED = ON);
EXEC sys.sp_cdc_enable_table N'dbo', N't', @role_name = NULL, @supports_net_changes = 1;
CREATE TABLE dbo.kinds (
    k bigint NOT NULL, a bit, b tinyint, c smallint, d decimal(38, 10), e money, f smallmoney, g real, h float, i date, j time(7),
    l smalldatetime, m datetime, n datetime2(7), o datetimeoffset(7), p char(3), q varchar(max), r nchar(3), s nvarchar(max),
    u binary(3), w varbinary(max), x uniqueidentifier, y xml, z sql_variant,
    CONSTRAINT kinds_key PRIMARY KEY (k), CONSTRAINT kinds_check CHECK (b < 200)
);
CREATE TABLE dbo.rare (
    k int NOT NULL PRIMARY KEY, a json, b vector(3), c hierarchyid, d geometry, e geography, f text, g ntext, h image
);
INSERT dbo.rare (k, a, b, c, f, g, h) VALUES (1, '{"a": [1, "b"]}', '[1, 2.5, -3]', 0x58, 'text', N'ntext', 0x0102);
CREATE TYPE dbo.sent AS TABLE (id int NOT NULL PRIMARY KEY, v int NULL DEFAULT 0, name nvarchar(20) NULL, CHECK (v < 100));
CREATE UNIQUE INDEX kinds_p ON dbo.kinds (p) WHERE p IS NOT NULL;
INSERT dbo.t (v, name) VALUES (1, N'one'), (2, N'two '), (3, NULL);
INSERT dbo.kinds (k, a, b, d, e, h, i, j, n, o, p, q, s, w, x, z)
VALUES (1, 1, 2, 3.5, 4, 5e0, '2024-02-29', '12:00', '2024-02-29T12:00:00.1234567', '2024-02-29T12:00:00+02:00', 'a', 'b', N'c', 0x01,
        '6F9619FF-8B86-D011-B42D-00C04FC964FF', 7),
       (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
