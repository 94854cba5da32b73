//! Versions in an object store that has conditional writes: `If-None-Match: *` lets one writer win.

use async_trait::async_trait;
use futures::TryStreamExt;
use model::{Error, Result, Timestamp};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, Error as StoreError, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

use super::versions::{Creation, HINT, Version, VersionFiles, hinted, version_of};
use crate::storage::{Located, Storage, object_error};

/// The attribute of a version by which its writer knows it again: a request that the client repeated after its answer was lost
/// ends as a lost race against itself. In Azure it must be the name of a variable.
const WRITER: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("syncwriter"));

/// The metadata prefix of one table.
#[derive(Debug)]
pub(super) struct ObjectVersions {
    location: String,
    storage: Storage,
}

impl ObjectVersions {
    /// Below this location.
    pub(super) fn new(storage: Storage, location: String) -> Self {
        Self { location, storage }
    }

    fn object(&self, name: &str) -> Result<(Located, String)> {
        let location = format!("{}/{name}", self.location);
        let object = self.storage.object(&location)?;
        let object = object.ok_or_else(|| Error::internal("a local path was taken for an object"))?;
        Ok((object, location))
    }

    /// What is there under the number that we tried to write: ours, somebody else's, or nobody knows. Even a refusal may be the answer
    /// to the repetition of a request that was carried out, so it counts only if nothing is there.
    async fn creation(
        &self,
        number: u64,
        (object, location): (&Located, &str),
        unique: &str,
        error: StoreError,
    ) -> Result<Creation> {
        let found = object
            .store
            .get_opts(&object.path, object_store::GetOptions::new().with_head(true))
            .await;
        let refused = matches!(
            error,
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. }
        );
        match found {
            Ok(found)
                if found
                    .attributes
                    .get(&WRITER)
                    .is_some_and(|writer| writer.as_ref() == unique) =>
            {
                Ok(Creation::Created)
            }
            Ok(_) => Ok(Creation::Taken),
            Err(StoreError::NotFound { .. }) if refused => {
                Err(object_error("cannot write the table's metadata", location, error))
            }
            Err(_) => Ok(Creation::Uncertain(format!(
                "version {number} was perhaps not written: {error}"
            ))),
        }
    }

    async fn try_raise_hint(&self, number: u64) -> Result<()> {
        let (object, location) = self.object(HINT)?;
        let failed = |e| object_error("cannot write the version hint", &location, e);
        let mode = match object.store.get(&object.path).await {
            Ok(found) => {
                let version = UpdateVersion {
                    e_tag: found.meta.e_tag.clone(),
                    version: found.meta.version.clone(),
                };
                let present = found.bytes().await.map_err(failed)?;
                if hinted(&present).is_some_and(|present| present >= number) {
                    return Ok(());
                }
                PutMode::Update(version)
            }
            Err(StoreError::NotFound { .. }) => PutMode::Create,
            Err(error) => return Err(failed(error)),
        };
        let put = object
            .store
            .put_opts(&object.path, number.to_string().into(), mode.into());
        match put.await {
            // Somebody else has raised it.
            Ok(_) | Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl VersionFiles for ObjectVersions {
    fn location(&self) -> &str {
        &self.location
    }

    async fn find(&self, number: u64) -> Result<Option<String>> {
        for name in [
            format!("v{number}.metadata.json"),
            format!("v{number}.gz.metadata.json"),
        ] {
            let (object, location) = self.object(&name)?;
            match object.store.head(&object.path).await {
                Ok(_) => return Ok(Some(location)),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => {
                    return Err(object_error(
                        "cannot look for the table's metadata",
                        &location,
                        error,
                    ));
                }
            }
        }
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Version>> {
        // Names of manifests sort before `v`, and are many.
        let (before, location) = self.object("v")?;
        let directory = ObjectPath::from_iter(before.path.parts().take(before.path.parts_count() - 1));
        let found = before.store.list_with_offset(Some(&directory), &before.path);
        let found = found.try_filter_map(|found| async move {
            let name = found.location.filename().unwrap_or_default().to_owned();
            Ok(version_of(&name).map(|number| (number, name, found.last_modified)))
        });
        let found: Vec<_> = found
            .try_collect()
            .await
            .map_err(|e| object_error("cannot list the table's metadata", &location, e))?;
        let mut versions: Vec<_> = found
            .into_iter()
            .map(|(number, name, modified)| Version {
                number,
                location: format!("{}/{name}", self.location),
                written: Timestamp(modified.timestamp_millis()),
            })
            .collect();
        versions.sort_by_key(|version| version.number);
        Ok(versions)
    }

    async fn create(&self, number: u64, metadata: Vec<u8>, unique: &str) -> Result<Creation> {
        let (object, location) = self.object(&format!("v{number}.metadata.json"))?;
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: Attributes::from_iter([(WRITER, unique.to_owned())]),
            ..PutOptions::default()
        };
        match object
            .store
            .put_opts(&object.path, metadata.into(), options)
            .await
        {
            Ok(_) => Ok(Creation::Created),
            Err(error) => self.creation(number, (&object, &location), unique, error).await,
        }
    }

    async fn remove(&self, version: &Version) -> Result<()> {
        let name = version.location.rsplit('/').next().unwrap_or_default();
        let (object, location) = self.object(name)?;
        match object.store.delete(&object.path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(object_error(
                "cannot remove an old metadata file",
                &location,
                error,
            )),
        }
    }

    async fn hint(&self) -> Result<Option<Vec<u8>>> {
        let (object, location) = self.object(HINT)?;
        let read = async { object.store.get(&object.path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(object_error("cannot read the version hint", &location, error)),
        }
    }

    async fn raise_hint(&self, number: u64) {
        if let Err(error) = self.try_raise_hint(number).await {
            tracing::warn!(%error, "the version hint stays as it is; readers probe from there");
        }
    }
}

#[cfg(test)]
mod tests;
