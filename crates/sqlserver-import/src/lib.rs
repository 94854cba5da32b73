//! ChangeSink over sqlserver-client.
