//! From the iceberg and parquet libraries' errors to ours.

use std::io;
use std::path::Path;

use model::{Error, ErrorKind};

/// Wraps an error of the iceberg library; `tried` says what was being done.
pub fn iceberg_error(tried: &'static str) -> impl FnOnce(iceberg::Error) -> Error {
    move |error| {
        let kind = match error.kind() {
            iceberg::ErrorKind::FeatureUnsupported => ErrorKind::Unsupported,
            iceberg::ErrorKind::DataInvalid => ErrorKind::Corrupt,
            _ => os_error(error.message()).map_or(ErrorKind::Unavailable, |e| io_kind(e.kind())),
        };
        Error::new(kind, tried)
            .with("cause", error.message().to_owned())
            .caused_by(error)
    }
}

/// The error of the operating system in a message of the library, whose file storage keeps nothing but its text. The standard library
/// ends that text with the system's number.
fn os_error(message: &str) -> Option<io::Error> {
    let (_, number) = message.rsplit_once("(os error ")?;
    let number = number.split_once(')')?.0.parse().ok()?;
    Some(io::Error::from_raw_os_error(number))
}

/// Wraps an error of the operating system; `tried` says what was being done to `path`.
pub fn io_error(tried: &'static str, path: &Path, error: io::Error) -> Error {
    let kind = io_kind(error.kind());
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

fn io_kind(kind: io::ErrorKind) -> ErrorKind {
    use io::ErrorKind as Io;
    match kind {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::Exhausted,
        Io::InvalidFilename | Io::NotADirectory => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of the library's local storage.
    #[test]
    fn what_the_operating_system_said_decides() {
        let system = |number| {
            format!(
                "Failed to write to file: {}",
                io::Error::from_raw_os_error(number)
            )
        };
        for (error, kind) in [
            #[cfg(unix)]
            (system(28), ErrorKind::Exhausted),
            #[cfg(windows)]
            (system(112), ErrorKind::Exhausted),
            (
                system(5),
                if cfg!(unix) {
                    ErrorKind::Unavailable
                } else {
                    ErrorKind::Denied
                },
            ),
            (
                "Failed to write to file: of no number".into(),
                ErrorKind::Unavailable,
            ),
            ("the end (os error x)".into(), ErrorKind::Unavailable),
        ] {
            let wrapped = iceberg_error("cannot write")(iceberg::Error::new(
                iceberg::ErrorKind::Unexpected,
                error.clone(),
            ));
            assert_eq!(wrapped.kind(), kind, "{error}");
        }
    }
}
