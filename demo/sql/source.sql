-- The source of the demo: four tables as applications make them, with a column that says when a row changed.
CREATE TABLE dbo.Customers (
    CustomerId  int            NOT NULL CONSTRAINT PK_Customers PRIMARY KEY,
    Name        nvarchar(100)  NOT NULL,
    Email       varchar(200)   NULL,
    Segment     char(2)        NOT NULL,
    CreditLimit money          NULL,
    IsActive    bit            NOT NULL CONSTRAINT DF_Customers_IsActive DEFAULT 1,
    updated_at  datetime2(3)   NOT NULL CONSTRAINT DF_Customers_updated DEFAULT SYSUTCDATETIME()
);
CREATE TABLE dbo.Orders (
    OrderId     int IDENTITY(1,1) NOT NULL CONSTRAINT PK_Orders PRIMARY KEY,
    CustomerId  int            NOT NULL,
    OrderDate   date           NOT NULL,
    Status      nvarchar(20)   NOT NULL,
    Amount      decimal(18,2)  NOT NULL,
    Note        nvarchar(max)  NULL,
    updated_at  datetime2(3)   NOT NULL CONSTRAINT DF_Orders_updated DEFAULT SYSUTCDATETIME()
);
CREATE TABLE dbo.OrderLines (
    OrderId     int            NOT NULL,
    LineNumber  smallint       NOT NULL,
    Sku         varchar(20)    NOT NULL,
    Quantity    int            NOT NULL,
    Price       decimal(19,4)  NOT NULL,
    Discount    real           NULL,
    updated_at  datetime2(3)   NOT NULL CONSTRAINT DF_OrderLines_updated DEFAULT SYSUTCDATETIME(),
    CONSTRAINT PK_OrderLines PRIMARY KEY (OrderId, LineNumber)
);
CREATE TABLE dbo.Returns (
    ReturnId    uniqueidentifier NOT NULL CONSTRAINT PK_Returns PRIMARY KEY,
    OrderId     int            NOT NULL,
    Reason      nvarchar(200)  NULL,
    updated_at  datetime2(3)   NOT NULL CONSTRAINT DF_Returns_updated DEFAULT SYSUTCDATETIME()
);
GO
WITH digits (d) AS (SELECT d FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (d)),
     numbers (n) AS (SELECT a.d + 10 * b.d + 1 FROM digits AS a CROSS JOIN digits AS b)
INSERT INTO dbo.Customers (CustomerId, Name, Email, Segment, CreditLimit)
SELECT n, N'Customer ' + CAST(n AS nvarchar(10)) + CASE WHEN n % 7 = 0 THEN N' Åse Çelik 東京' ELSE N'' END,
       CASE WHEN n % 5 = 0 THEN NULL ELSE 'c' + CAST(n AS varchar(10)) + '@example.com' END,
       CASE n % 3 WHEN 0 THEN 'A' WHEN 1 THEN 'B' ELSE 'C' END,
       CASE WHEN n % 4 = 0 THEN NULL ELSE CAST(n * 1000 AS money) + CAST(0.25 AS money) END
FROM numbers;
GO
WITH digits (d) AS (SELECT d FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (d)),
     numbers (n) AS (SELECT a.d + 10 * b.d + 100 * c.d + 1 FROM digits AS a CROSS JOIN digits AS b CROSS JOIN digits AS c)
INSERT INTO dbo.Orders (CustomerId, OrderDate, Status, Amount, Note)
SELECT 1 + n % 100, DATEADD(day, n % 365, CAST('2025-01-01' AS date)),
       CASE n % 4 WHEN 0 THEN N'new' WHEN 1 THEN N'paid' WHEN 2 THEN N'sent' ELSE N'closed' END,
       CAST(n AS decimal(18,2)) * 1.25, CASE WHEN n % 10 = 0 THEN N'' WHEN n % 3 = 0 THEN N'gift wrap' ELSE NULL END
FROM numbers;
INSERT INTO dbo.OrderLines (OrderId, LineNumber, Sku, Quantity, Price, Discount)
SELECT o.OrderId, l.n, 'SKU-' + CAST(o.OrderId % 50 AS varchar(10)), 1 + o.OrderId % 5, CAST(o.Amount AS decimal(19,4)) / 2,
       CASE WHEN o.OrderId % 6 = 0 THEN CAST(0.5 AS real) ELSE NULL END
FROM dbo.Orders AS o CROSS JOIN (VALUES (1), (2)) AS l (n);
GO
