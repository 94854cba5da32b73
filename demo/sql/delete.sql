DELETE FROM dbo.Orders WHERE OrderId = 500;
