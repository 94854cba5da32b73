-- Inserts, updates and deletes a part. flights tells of its changes by updated_at, which shows no deletes.
INSERT INTO dbo.flights ([year], [month], [day], dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier,
    flight, tailnum, origin, dest, air_time, distance, [hour], [minute], time_hour)
SELECT TOP (1000) 2014, [month], [day], dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay, carrier,
    flight, tailnum, origin, dest, air_time, distance, [hour], [minute], time_hour
FROM dbo.flights WHERE flight_id <= 1000 ORDER BY flight_id;
UPDATE dbo.flights SET tailnum = NULL, air_time = 12.5, updated_at = SYSUTCDATETIME() WHERE flight_id % 1000 = 7;
UPDATE dbo.flights SET carrier = LOWER(carrier), updated_at = SYSUTCDATETIME() WHERE flight_id BETWEEN 5000 AND 5010;
INSERT INTO dbo.airlines (carrier, name) VALUES ('ZZ', N'Zürich–東京 Air');
UPDATE dbo.airports SET tzone = NULL WHERE alt > 8000;
DELETE FROM dbo.planes WHERE [year] < 1960;
DELETE FROM dbo.weather WHERE wind_speed > 40;
UPDATE dbo.weather SET temp = NULL WHERE temp < 12;
DELETE FROM dbo.flights_raw WHERE [month] = 2 AND [day] = 1;
GO
