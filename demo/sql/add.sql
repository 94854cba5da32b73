WITH digits (d) AS (SELECT d FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)) AS v (d))
INSERT INTO dbo.Orders (CustomerId, OrderDate, Status, Amount)
SELECT 1 + a.d, CAST('2026-01-01' AS date), N'new', 10 * b.d + a.d FROM digits AS a CROSS JOIN digits AS b;
