//! Where files are: on local disks, in S3, in Google Cloud Storage and in Azure.
//!
//! Locations are taken byte by byte, as metadata holds them: `file:` and plain paths, `s3:`, `s3a:` and `s3n:`, `gs:`, and `abfss:` and its kin.
//! What may be reached in S3 under a prefix, and with which credentials, is an [`Access`]; the one with the longest prefix counts.

mod azure;
mod bucket;
mod environment;
mod listing;
mod local;
mod local_read;
mod object;
mod options;
mod warehouse;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::io::{FileIO, FileIOBuilder};
use model::{Error, ErrorKind, Result};
use object_store::aws::AwsCredentialProvider;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetResult, ObjectStore};

pub use bucket::same_scheme;
pub use listing::StoredFile;
pub(crate) use local::sync_up;
pub(crate) use local_read::LocalRead;
pub use options::{AzureOptions, GcsOptions, S3Options, StorageOptions};

use crate::manifest_cache::ManifestCache;

use azure::Azure;
use bucket::Bucket;
use object::Files;

/// Files by their locations. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    /// Longest prefix first.
    accesses: Vec<Access>,
    gcs: GcsOptions,
    azure: Arc<Azure>,
    /// By the access, which is the first for all that are not in S3.
    stores: Mutex<HashMap<(usize, Bucket), Arc<dyn ObjectStore>>>,
    manifests: ManifestCache,
}

/// How objects of S3 below a prefix are reached.
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
    /// What Azure's client for Java makes of the name, if that is another one: it decodes names that it is given, and Iceberg encodes
    /// the values of partitions in them.
    decoded: Option<ObjectPath>,
}

impl Located {
    /// Gets the object; by its decoded name if there is none by the one in its location.
    pub(crate) async fn get(&self, options: GetOptions) -> object_store::Result<GetResult> {
        let found = self.store.get_opts(&self.path, options.clone()).await;
        match (&found, &self.decoded) {
            (Err(object_store::Error::NotFound { .. }), Some(decoded)) => {
                self.store.get_opts(decoded, options).await.or(found)
            }
            _ => found,
        }
    }
}

impl Default for Storage {
    /// Local disks, and services with what the environment says of them.
    fn default() -> Self {
        Self::new(&StorageOptions::default())
    }
}

impl Storage {
    /// Nothing is connected to yet.
    pub fn new(options: &StorageOptions) -> Self {
        let s3 = Access {
            prefix: String::new(),
            s3: options.s3.clone(),
            credentials: None,
        };
        Self::with(
            vec![s3],
            options.gcs.clone(),
            Arc::new(Azure::new(options.azure.clone())),
            ManifestCache::default(),
        )
    }

    /// The same storage, with other credentials below some prefixes.
    pub(crate) fn granted(&self, mut accesses: Vec<Access>) -> Self {
        accesses.extend(self.0.accesses.iter().cloned());
        let (gcs, azure) = (self.0.gcs.clone(), self.0.azure.clone());
        Self::with(accesses, gcs, azure, self.0.manifests.clone())
    }

    fn with(mut accesses: Vec<Access>, gcs: GcsOptions, azure: Arc<Azure>, manifests: ManifestCache) -> Self {
        accesses.sort_by_key(|access| std::cmp::Reverse(access.prefix.len()));
        Self(Arc::new(Inner {
            accesses,
            gcs,
            azure,
            stores: Mutex::default(),
            manifests,
        }))
    }

    /// What was read of manifests of these files.
    pub(crate) fn manifests(&self) -> &ManifestCache {
        &self.0.manifests
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
        let (bucket, key) = Bucket::of(location).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "there is no access to files of this kind")
                .with("location", location)
                .hint("give a local path, s3://bucket/…, gs://bucket/… or abfss://container@account.dfs.core.windows.net/…")
        })?;
        let path = ObjectPath::parse(key).map_err(|e| {
            Error::new(ErrorKind::Unsupported, "this is not the name of an object")
                .with("location", location)
                .caused_by(e)
        })?;
        let decoded = match bucket {
            Bucket::Azure { .. } => ObjectPath::from_url_path(key).ok(),
            Bucket::S3(_) | Bucket::Gcs(_) => None,
        };
        Ok(Some(Located {
            store: self.store(location, bucket)?,
            decoded: decoded.filter(|decoded| *decoded != path),
            path,
        }))
    }

    fn store(&self, location: &str, bucket: Bucket) -> Result<Arc<dyn ObjectStore>> {
        let number = match &bucket {
            Bucket::S3(_) => self.access(location)?,
            Bucket::Gcs(_) | Bucket::Azure { .. } => 0,
        };
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (number, bucket);
        if let Some(store) = stores.get(&key) {
            return Ok(store.clone());
        }
        let store = match &key {
            (number, Bucket::S3(bucket)) => {
                let access = &self.0.accesses[*number];
                bucket::open_s3(bucket, &access.s3, access.credentials.clone())?
            }
            (_, Bucket::Gcs(bucket)) => bucket::open_gcs(bucket, &self.0.gcs)?,
            (_, Bucket::Azure { container, host }) => self.0.azure.open(container, host)?,
        };
        stores.insert(key, store.clone());
        Ok(store)
    }

    /// The number of the access to a location in S3.
    fn access(&self, location: &str) -> Result<usize> {
        let location = same_scheme(location);
        let mut accesses = self.0.accesses.iter();
        accesses
            .position(|access| location.starts_with(&access.prefix))
            .ok_or_else(|| Error::internal("a storage without access to anything"))
    }
}

#[cfg(test)]
impl Storage {
    /// A storage with this store for what is in the bucket of `location`.
    fn with_store(location: &str, store: Arc<dyn ObjectStore>) -> Self {
        let storage = Self::default();
        let (bucket, _) = Bucket::of(location).unwrap();
        storage.0.stores.lock().unwrap().insert((0, bucket), store);
        storage
    }
}

impl Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.accesses.iter().map(|access| &access.prefix))
            .finish()
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

/// The path of a local location; `None` for any other. What follows `file://` is absolute, with a slash or without, as the library has it.
pub(crate) fn local_path(location: &str) -> Option<&str> {
    let Some(path) = location.strip_prefix("file:") else {
        return (!location.contains("://")).then_some(location);
    };
    match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => Some(absolute),
        Some(_) => path.strip_prefix('/'),
        None => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        let s3 = |name: &str| Some(Bucket::S3(name.into()));
        let gcs = |name: &str| Some(Bucket::Gcs(name.into()));
        let azure = |container: &str, host: &str| {
            let (container, host) = (container.into(), host.into());
            Some(Bucket::Azure { container, host })
        };
        for (location, local, bucket, key) in [
            ("/a/b", Some("/a/b"), None, ""),
            ("file:/a/b", Some("/a/b"), None, ""),
            ("file:///a b/%20", Some("/a b/%20"), None, ""),
            ("file://a/b", Some("/a/b"), None, ""),
            ("s3://bucket/a/~2e/b", None, s3("bucket"), "a/~2e/b"),
            ("s3a://bucket/a%20b", None, s3("bucket"), "a%20b"),
            ("s3://bucket", None, s3("bucket"), ""),
            ("s3://", None, None, ""),
            ("gcs://bucket/a", None, gcs("bucket"), "a"),
            ("s3://attacker.example#/a", None, None, ""),
            ("s3://attacker.example?/a", None, None, ""),
            ("s3://attacker.example\\/a", None, None, ""),
            ("gs://me@attacker.example:/a", None, None, ""),
            ("gs://bucket/a", None, gcs("bucket"), "a"),
            (
                "abfss://c@acc.dfs.core.windows.net/a/b",
                None,
                azure("c", "acc.dfs.core.windows.net"),
                "a/b",
            ),
            (
                "wasbs://c@acc.blob.core.windows.net/a",
                None,
                azure("c", "acc.blob.core.windows.net"),
                "a",
            ),
            ("abfss://container/a", None, None, ""),
            ("hdfs://host/a", None, None, ""),
        ] {
            assert_eq!(local_path(location), local, "{location}");
            assert_eq!(
                Bucket::of(location),
                bucket.map(|bucket| (bucket, key)),
                "{location}"
            );
        }
        let refused = Storage::default().object("hdfs://host/a").err().map(|e| e.kind());
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
