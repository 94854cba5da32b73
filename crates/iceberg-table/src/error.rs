//! From the iceberg and parquet libraries' errors to ours.

use model::{Error, ErrorKind};

/// Wraps an error of the iceberg library; `tried` says what was being done.
pub fn iceberg_error(tried: &'static str) -> impl FnOnce(iceberg::Error) -> Error {
    move |error| {
        let kind = match error.kind() {
            iceberg::ErrorKind::FeatureUnsupported => ErrorKind::Unsupported,
            iceberg::ErrorKind::DataInvalid => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, tried)
            .with("cause", error.message().to_owned())
            .caused_by(error)
    }
}

/// Wraps an error of the operating system; `tried` says what was being done to `path`.
pub fn io_error(tried: &'static str, path: &std::path::Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Exhausted,
        Io::InvalidFilename | Io::NotADirectory => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    let described = Error::new(kind, tried)
        .with("path", path.display())
        .with("cause", &error);
    let described = match kind {
        ErrorKind::Denied => {
            described.hint("give this user the right to write there, or choose another warehouse")
        }
        ErrorKind::NotFound => described.hint("check the warehouse path and that it is mounted"),
        _ => described,
    };
    described.caused_by(error)
}
