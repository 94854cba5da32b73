CREATE TABLE dbo.Orders (
    OrderId     int IDENTITY(1,1) NOT NULL CONSTRAINT PK_Orders PRIMARY KEY,
    CustomerId  int            NOT NULL,
    OrderDate   date           NOT NULL,
    Status      nvarchar(20)   NOT NULL,
    Amount      decimal(18,2)  NOT NULL,
    Note        nvarchar(max)  NULL,
    updated_at  datetime2(3)   NOT NULL CONSTRAINT DF_Orders_updated DEFAULT SYSUTCDATETIME()
);
WITH digits (d) AS (SELECT d FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (d)),
     numbers (n) AS (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 1
                     FROM digits AS a CROSS JOIN digits AS b CROSS JOIN digits AS c CROSS JOIN digits AS e)
INSERT INTO dbo.Orders (CustomerId, OrderDate, Status, Amount, Note)
SELECT 1 + n % 100, DATEADD(day, n % 365, CAST('2025-01-01' AS date)),
       CASE n % 4 WHEN 0 THEN N'new' WHEN 1 THEN N'paid' WHEN 2 THEN N'sent' ELSE N'closed' END,
       CAST(n AS decimal(18,2)) * 1.25, CASE WHEN n % 10 = 0 THEN N'' WHEN n % 3 = 0 THEN N'gift wrap' ELSE NULL END
FROM numbers;
