UPDATE dbo.Orders SET Status = N'cancelled', updated_at = SYSUTCDATETIME() WHERE OrderId BETWEEN 11 AND 20;
