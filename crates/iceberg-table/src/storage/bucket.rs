//! Buckets and containers: what a location says of them, and how they are opened.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::aws::AwsCredentialProvider;

use super::options::{GcsOptions, S3Options};

/// Where objects are, as a location names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Bucket {
    S3(String),
    Gcs(String),
    /// A container, and the host of its account.
    Azure {
        container: String,
        host: String,
    },
}

impl Bucket {
    /// The bucket of a location, and the rest of it; `None` if it is of another kind.
    pub(super) fn of(location: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = location.split_once("://")?;
        let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = match first_scheme(scheme) {
            _ if name.is_empty() => return None,
            "s3" if is_bucket(name) => Self::S3(name.to_owned()),
            "gs" if is_bucket(name) => Self::Gcs(name.to_owned()),
            "abfss" => {
                let (container, host) = name.split_once('@')?;
                Self::Azure {
                    container: container.to_owned(),
                    host: host.to_owned(),
                }
            }
            _ => return None,
        };
        Some((bucket, key))
    }
}

/// A name can become a part of the host that is asked: nothing in it may end that, or begin another one.
fn is_bucket(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// The scheme that stands for all of its service.
fn first_scheme(scheme: &str) -> &str {
    match scheme {
        "s3a" | "s3n" => "s3",
        "gcs" => "gs",
        "abfs" | "wasb" | "wasbs" => "abfss",
        other => other,
    }
}

/// A location with the scheme that stands for all of its service: `s3:` for `s3a:`.
pub fn same_scheme(location: &str) -> Cow<'_, str> {
    match location.split_once("://") {
        Some((scheme, rest)) if first_scheme(scheme) != scheme => {
            format!("{}://{rest}", first_scheme(scheme)).into()
        }
        _ => location.into(),
    }
}

pub(super) fn open_s3(
    bucket: &str,
    options: &S3Options,
    credentials: Option<AwsCredentialProvider>,
) -> Result<Arc<dyn ObjectStore>> {
    let mut builder = options.builder().with_bucket_name(bucket);
    if let Some(credentials) = credentials {
        builder = builder.with_credentials(credentials);
    }
    let store = builder.build();
    Ok(Arc::new(store.map_err(unreachable("S3", bucket))?))
}

pub(super) fn open_gcs(bucket: &str, options: &GcsOptions) -> Result<Arc<dyn ObjectStore>> {
    let store = options.builder().with_bucket_name(bucket).build();
    Ok(Arc::new(
        store.map_err(unreachable("Google Cloud Storage", bucket))?,
    ))
}

/// Why a client cannot be made of its options. What a parser of JSON says would show a key that is not what it should be.
pub(super) fn unreachable(service: &'static str, bucket: &str) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        let described = Error::new(
            ErrorKind::Config,
            format!("cannot reach {service} with these options"),
        )
        .with("bucket", bucket);
        let causes = std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |error| {
            error.source()
        });
        let parsing = causes
            .into_iter()
            .find_map(|cause| cause.downcast_ref::<serde_json::Error>());
        match parsing {
            Some(json) => described
                .with("line", json.line())
                .with("column", json.column())
                .hint("a credential is not the JSON that it should be: give what the service made, as it is"),
            None => described.with("cause", &error).caused_by(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Secret;

    use super::*;

    /// A key in quotes, as some tools put it into a file: its parser tells of the whole string that it found.
    #[test]
    fn a_key_that_is_no_key_is_not_shown() {
        let key = r#""{\"private_key\": \"SECRET\"}""#;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        let in_file = GcsOptions {
            service_account_path: file.path().to_str().map(str::to_owned),
            ..GcsOptions::default()
        };
        let in_options = GcsOptions {
            service_account_key: Some(Secret::new(key)),
            ..GcsOptions::default()
        };
        for options in [in_file, in_options] {
            let error = open_gcs("bucket", &options).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("SECRET"), "{shown}");
        }
    }
}
