//! Where files are: on local disks, and in S3.
//!
//! Locations are taken byte by byte, as metadata holds them: `file:` and plain paths, `s3:`, `s3a:` and `s3n:`. What may be reached
//! under a prefix, and with which credentials, is an [`Access`]; the one with the longest prefix counts.

mod local;
mod object;
mod options;
mod warehouse;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::io::{FileIO, FileIOBuilder};
use model::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::aws::AwsCredentialProvider;
use object_store::path::Path as ObjectPath;

pub(crate) use local::sync_up;
pub use options::{S3Options, StorageOptions};

use object::Files;

/// Files by their locations. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    /// Longest prefix first.
    accesses: Vec<Access>,
    stores: Mutex<HashMap<(usize, String), Arc<dyn ObjectStore>>>,
}

/// How objects below a prefix are reached.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// What the locations begin with.
    pub(crate) prefix: String,
    /// The service and fixed credentials.
    pub(crate) s3: S3Options,
    /// Credentials that change.
    pub(crate) credentials: Option<AwsCredentialProvider>,
}

/// An object and the store that has it.
pub(crate) struct Located {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: ObjectPath,
}

impl Default for Storage {
    /// Local disks, and S3 with what the environment says of it.
    fn default() -> Self {
        Self::new(&StorageOptions::default())
    }
}

impl Storage {
    /// Nothing is connected to yet.
    pub fn new(options: &StorageOptions) -> Self {
        Self::with(vec![Access {
            prefix: String::new(),
            s3: options.s3.clone(),
            credentials: None,
        }])
    }

    /// The same storage, with other credentials below some prefixes.
    pub(crate) fn granted(&self, mut accesses: Vec<Access>) -> Self {
        accesses.extend(self.0.accesses.iter().cloned());
        Self::with(accesses)
    }

    fn with(mut accesses: Vec<Access>) -> Self {
        accesses.sort_by_key(|access| std::cmp::Reverse(access.prefix.len()));
        Self(Arc::new(Inner {
            accesses,
            stores: Mutex::default(),
        }))
    }

    /// The configured access to S3.
    pub(crate) fn s3(&self) -> Option<&S3Options> {
        self.0.accesses.last().map(|access| &access.s3)
    }

    /// The iceberg library's view.
    pub fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(Files::new(self.clone()))).build()
    }

    /// Makes the names of written files durable; what is in them was made so by closing them.
    pub(crate) async fn persist(&self, files: &[String]) -> Result<()> {
        local::persist(files.iter().filter_map(|file| local_path(file))).await
    }

    /// The object at a location; `None` for a local file.
    pub(crate) fn object(&self, location: &str) -> Result<Option<Located>> {
        if local_path(location).is_some() {
            return Ok(None);
        }
        let (bucket, key) = bucket_and_key(location).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "there is no access to files of this kind")
                .with("location", location)
                .hint("local paths and s3: are supported")
        })?;
        let path = ObjectPath::parse(key).map_err(|e| {
            Error::new(ErrorKind::Unsupported, "this is not the name of an object")
                .with("location", location)
                .caused_by(e)
        })?;
        Ok(Some(Located {
            store: self.store(location, bucket)?,
            path,
        }))
    }

    fn store(&self, location: &str, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let found = self.0.accesses.iter().enumerate();
        let mut found = found.filter(|(_, access)| same_scheme(location).starts_with(&access.prefix));
        let (number, access) = found
            .next()
            .ok_or_else(|| Error::internal("a storage without access to anything"))?;
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (number, bucket.to_owned());
        if let Some(store) = stores.get(&key) {
            return Ok(store.clone());
        }
        let store = access.open(bucket)?;
        stores.insert(key, store.clone());
        Ok(store)
    }
}

impl Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.accesses.iter().map(|access| &access.prefix))
            .finish()
    }
}

impl Access {
    fn open(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = self.s3.builder().with_bucket_name(bucket);
        if let Some(credentials) = &self.credentials {
            builder = builder.with_credentials(credentials.clone());
        }
        let store = builder.build().map_err(|e| {
            Error::new(ErrorKind::Config, "cannot reach S3 with these options")
                .with("bucket", bucket)
                .with("cause", &e)
                .caused_by(e)
        })?;
        Ok(Arc::new(store))
    }
}

/// Wraps an error of the object store; `tried` says what was being done to `location`.
pub(crate) fn object_error(tried: &'static str, location: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let kind = match error {
        Store::NotFound { .. } => ErrorKind::NotFound,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => ErrorKind::Denied,
        Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => ErrorKind::Config,
        Store::NotImplemented { .. } | Store::NotSupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    let described = Error::new(kind, tried)
        .with("location", location)
        .with("cause", &error);
    let described = match kind {
        ErrorKind::Denied => {
            described.hint("check the credentials, and that they may do this below this prefix")
        }
        ErrorKind::NotFound => described.hint("check the bucket's name, the region and the endpoint"),
        _ => described,
    };
    described.caused_by(error)
}

/// The path of a local location; `None` for any other.
pub(crate) fn local_path(location: &str) -> Option<&str> {
    match location.strip_prefix("file:") {
        Some(rest) => Some(rest.strip_prefix("//").unwrap_or(rest)),
        None => (!location.contains("://")).then_some(location),
    }
}

fn bucket_and_key(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once("://")?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    (matches!(scheme, "s3" | "s3a" | "s3n") && !bucket.is_empty()).then_some((bucket, key))
}

/// A location with the scheme that prefixes have.
fn same_scheme(location: &str) -> std::borrow::Cow<'_, str> {
    match location.split_once("://") {
        Some(("s3a" | "s3n", rest)) => format!("s3://{rest}").into(),
        _ => location.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        for (location, local, object) in [
            ("/a/b", Some("/a/b"), None),
            ("file:/a/b", Some("/a/b"), None),
            ("file:///a b/%20", Some("/a b/%20"), None),
            ("s3://bucket/a/~2e/b", None, Some(("bucket", "a/~2e/b"))),
            ("s3a://bucket/a%20b", None, Some(("bucket", "a%20b"))),
            ("s3://bucket", None, Some(("bucket", ""))),
            ("s3://", None, None),
            ("gs://bucket/a", None, None),
        ] {
            assert_eq!(local_path(location), local, "{location}");
            assert_eq!(bucket_and_key(location), object, "{location}");
        }
        let refused = Storage::default().object("gs://bucket/a").err().map(|e| e.kind());
        assert_eq!(refused, Some(ErrorKind::Unsupported));
    }

    #[test]
    fn the_longest_prefix_decides() {
        let access = |prefix: &str, region: &str| Access {
            prefix: prefix.into(),
            s3: S3Options {
                region: Some(region.into()),
                ..S3Options::default()
            },
            credentials: None,
        };
        let storage =
            Storage::default().granted(vec![access("s3://b/t", "one"), access("s3://b/t/data", "two")]);
        for (location, region) in [
            ("s3://b/t/metadata/x", "one"),
            ("s3a://b/t/data/x", "two"),
            ("s3://b/u", ""),
        ] {
            let store = storage.object(location).unwrap().unwrap().store;
            assert_eq!(
                format!("{store:?}").contains(&format!("region: \"{region}\"")),
                !region.is_empty()
            );
        }
    }
}
