//! The iceberg library's storage over ours.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage, OutputFile, Storage as IcebergStorage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::buffered::BufWriter;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;

use super::local_read::LocalRead;
use super::{Located, Storage, local_path};

/// A file up to this size is one request; a larger one is sent in parts of it.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file that are under way at once.
const PARTS: usize = 4;

/// Objects by our storage, everything else by the library's local one.
#[derive(Debug, Clone)]
pub(super) struct Files {
    storage: Storage,
    local: LocalFsStorage,
}

impl Files {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            local: LocalFsStorage::new(),
        }
    }

    fn object(&self, location: &str) -> Result<Option<Located>> {
        self.storage
            .object(location)
            .map_err(|e| Error::new(ErrorKind::FeatureUnsupported, e.to_string()).with_source(e))
    }
}

fn failed(tried: &'static str, location: &str) -> impl FnOnce(object_store::Error) -> Error {
    move |error| {
        let kind = match error {
            object_store::Error::NotFound { .. } => ErrorKind::DataInvalid,
            _ => ErrorKind::Unexpected,
        };
        Error::new(kind, format!("{tried} {location}: {error}")).with_source(error)
    }
}

#[async_trait]
#[typetag::serde]
impl IcebergStorage for Files {
    async fn exists(&self, path: &str) -> Result<bool> {
        let Some(object) = self.object(path)? else {
            return self.local.exists(path).await;
        };
        match object.get(GetOptions::new().with_head(true)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("cannot look for", path)(error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let Some(object) = self.object(path)? else {
            return self.local.metadata(path).await;
        };
        let found = object.get(GetOptions::new().with_head(true)).await;
        let size = found.map_err(failed("cannot look at", path))?.meta.size;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let Some(object) = self.object(path)? else {
            return match local_path(path) {
                Some(local) => LocalRead::all(local),
                None => self.local.read(path).await,
            };
        };
        let read = async { object.get(GetOptions::new()).await?.bytes().await };
        read.await.map_err(failed("cannot read", path))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        match self.object(path)? {
            Some(object) => Ok(Box::new(ObjectRead {
                object,
                location: path.to_owned(),
            })),
            None => match local_path(path) {
                Some(local) => Ok(Box::new(LocalRead::open(local)?)),
                None => self.local.reader(path).await,
            },
        }
    }

    async fn write(&self, path: &str, bs: Bytes) -> Result<()> {
        let Some(object) = self.object(path)? else {
            return self.local.write(path, bs).await;
        };
        let put = object.store.put(&object.path, bs.into()).await;
        put.map(drop).map_err(failed("cannot write", path))
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        match self.object(path)? {
            Some(object) => Ok(Box::new(ObjectWrite {
                writer: BufWriter::with_capacity(object.store, object.path, PART_BYTES)
                    .with_max_concurrency(PARTS),
                location: path.to_owned(),
            })),
            None => self.local.writer(path).await,
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let Some(object) = self.object(path)? else {
            return self.local.delete(path).await;
        };
        match object.store.delete(&object.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("cannot delete", path)(error)),
        }
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let Some(object) = self.object(path)? else {
            return self.local.delete_prefix(path).await;
        };
        let found = object
            .store
            .list(Some(&object.path))
            .map_ok(|found| found.location)
            .boxed();
        let deleted = object
            .store
            .delete_stream(found)
            .try_for_each(|_| async { Ok(()) })
            .await;
        deleted.map_err(failed("cannot delete everything below", path))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

#[typetag::serde]
impl StorageFactory for Files {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(self.clone()))
    }
}

/// The library asks for it so that tasks can be sent to other machines. Ours are not: they would carry credentials.
impl serde::Serialize for Files {
    fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a storage holds credentials and is not sent anywhere",
        ))
    }
}

impl<'de> serde::Deserialize<'de> for Files {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "a storage holds credentials and is not sent anywhere",
        ))
    }
}

struct ObjectRead {
    object: Located,
    location: String,
}

#[async_trait]
impl FileRead for ObjectRead {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let range = GetOptions::new().with_range(Some(range));
        let read = async { self.object.get(range).await?.bytes().await };
        read.await.map_err(failed("cannot read", &self.location))
    }
}

struct ObjectWrite {
    writer: BufWriter,
    location: String,
}

#[async_trait]
impl FileWrite for ObjectWrite {
    async fn write(&mut self, bs: Bytes) -> Result<()> {
        let put = self.writer.put(bs).await;
        put.map_err(failed("cannot write", &self.location))
    }

    async fn close(&mut self) -> Result<()> {
        self.writer.shutdown().await.map_err(|error| {
            Error::new(
                ErrorKind::Unexpected,
                format!("cannot write {}: {error}", self.location),
            )
            .with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    /// As Azure's client for Java has written them, and as ours has.
    #[tokio::test]
    async fn names_that_a_client_has_decoded_are_found_in_azure() {
        const AZURE: &str = "abfss://c@acc.dfs.core.windows.net";
        for (bucket, name, stored, is_found) in [
            (AZURE, "data/ts=10%3A00/a", "data/ts=10:00/a", true),
            (AZURE, "data/p=50%2520x/a", "data/p=50%20x/a", true),
            (AZURE, "data/ts=10%3A00/a", "data/ts=10%3A00/a", true),
            (AZURE, "data/p=50%2520x/a", "data/p=50 x/a", false),
            (AZURE, "data/100%/a", "data/100%/a", true),
            (AZURE, "data/a", "data/b", false),
            ("s3://b", "data/ts=10%3A00/a", "data/ts=10:00/a", false),
        ] {
            let store = Arc::new(InMemory::new());
            let path = Path::parse(stored).unwrap();
            store
                .put(&path, Bytes::from_static(b"12345").into())
                .await
                .unwrap();
            let files = Files::new(Storage::with_store(bucket, store));
            let location = format!("{bucket}/{name}");
            assert_eq!(files.exists(&location).await.unwrap(), is_found, "{location}");
            let size = files.metadata(&location).await.ok().map(|found| found.size);
            assert_eq!(size, is_found.then_some(5), "{location}");
            let read = files.read(&location).await.ok();
            assert_eq!(read.as_deref(), is_found.then_some(&b"12345"[..]), "{location}");
            let part = files.reader(&location).await.unwrap().read(1..3).await;
            assert_eq!(part.ok().as_deref(), is_found.then_some(&b"23"[..]), "{location}");
        }
    }

    /// Where both are there, they are two files.
    #[tokio::test]
    async fn a_name_is_taken_as_it_is_first() {
        let store = Arc::new(InMemory::new());
        for (path, content) in [("a:b", &b"decoded"[..]), ("a%3Ab", b"as it is")] {
            let path = Path::parse(path).unwrap();
            store
                .put(&path, Bytes::from_static(content).into())
                .await
                .unwrap();
        }
        let bucket = "abfss://c@acc.dfs.core.windows.net";
        let files = Files::new(Storage::with_store(bucket, store));
        let location = format!("{bucket}/a%3Ab");
        assert_eq!(files.read(&location).await.unwrap().as_ref(), b"as it is");
        files.delete(&location).await.unwrap();
        files.delete(&location).await.unwrap();
        assert_eq!(files.read(&location).await.unwrap().as_ref(), b"decoded");
    }
}
