//! Everything that speaks to SQL Server.
