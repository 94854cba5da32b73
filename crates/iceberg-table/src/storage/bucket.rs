//! Buckets and containers: what a location says of them, and how they are opened.

use std::sync::Arc;

use model::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::aws::AwsCredentialProvider;

use super::options::{AzureOptions, GcsOptions, S3Options};

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
        let bucket = match scheme {
            _ if name.is_empty() => return None,
            "s3" | "s3a" | "s3n" => Self::S3(name.to_owned()),
            "gs" | "gcs" => Self::Gcs(name.to_owned()),
            "abfs" | "abfss" | "wasb" | "wasbs" => {
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

pub(super) fn open_azure(
    container: &str,
    host: &str,
    options: &AzureOptions,
) -> Result<Arc<dyn ObjectStore>> {
    let store = options.builder(host).with_container_name(container).build();
    Ok(Arc::new(store.map_err(unreachable("Azure", container))?))
}

fn unreachable(service: &'static str, bucket: &str) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        Error::new(
            ErrorKind::Config,
            format!("cannot reach {service} with these options"),
        )
        .with("bucket", bucket)
        .with("cause", &error)
        .caused_by(error)
    }
}
