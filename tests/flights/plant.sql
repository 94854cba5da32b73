-- In the target: one byte and one NULL per table, for verify to find. Not in a table's first row, which is doubled in Iceberg.
UPDATE dbo.airlines SET name = name + N' ' WHERE carrier = 'AA';
UPDATE dbo.airports SET name = REPLACE(name, N'Field', N'field') WHERE faa = '06A';
UPDATE dbo.airports SET tzone = NULL WHERE faa = 'ATL';
UPDATE dbo.planes SET model = UPPER(model) + N'x' WHERE tailnum = 'N103US';
UPDATE dbo.planes SET [year] = NULL WHERE tailnum = 'N102UW';
UPDATE dbo.weather SET humid = humid + 0.01 WHERE origin = 'EWR' AND time_hour = '2013-06-01T12:00:00';
UPDATE dbo.weather SET temp = NULL WHERE origin = 'LGA' AND time_hour = '2013-06-01T12:00:00';
UPDATE dbo.flights SET tailnum = LOWER(tailnum) WHERE flight_id = 11;
UPDATE dbo.flights SET arr_delay = NULL WHERE flight_id = 12;
UPDATE dbo.flights_raw SET tailnum = LOWER(tailnum) WHERE [month] = 1 AND [day] = 1 AND carrier = 'UA' AND flight = 1545;
UPDATE dbo.flights_raw SET arr_delay = NULL WHERE [month] = 1 AND [day] = 1 AND carrier = 'UA' AND flight = 1714;
GO
