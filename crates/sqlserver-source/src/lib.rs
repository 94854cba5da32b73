//! ChangeSource over sqlserver-client.
