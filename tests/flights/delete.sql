DELETE FROM dbo.flights WHERE flight_id % 5000 = 3;
GO
