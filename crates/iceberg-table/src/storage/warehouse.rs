//! The directory that a catalog keeps its tables in.

use std::path::Path;

use model::{Error, ErrorKind, Ids, Result};
use object_store::ObjectStoreExt;

use super::{Located, Storage, local_path, object_error};
use crate::error::io_error;

impl Storage {
    /// A warehouse as locations begin with it: absolute, without a slash at its end. Nothing is percent-encoded, because readers take
    /// locations byte by byte.
    pub(crate) fn warehouse(&self, text: &str) -> Result<String> {
        let config = |why: &'static str| Error::new(ErrorKind::Config, why).with("warehouse", text);
        let Some(path) = local_path(text) else {
            self.object(text).map_err(|e| {
                config("tables cannot be kept there")
                    .hint("give a path on a local or mounted file system, or s3://bucket/prefix, gs://bucket/prefix or abfss://container@account.dfs.core.windows.net/prefix")
                    .caused_by(e)
            })?;
            return Ok(text.trim_end_matches('/').to_owned());
        };
        if text
            .strip_prefix("file://")
            .is_some_and(|path| !path.starts_with('/'))
        {
            return Err(config("what follows `file://` is not an absolute path")
                .hint("write `file:///path`, or a path alone, which may be relative"));
        }
        if path.trim().is_empty() {
            return Err(config("the warehouse's path is empty"));
        }
        let absolute = std::path::absolute(path)
            .map_err(|e| io_error("cannot find the warehouse", Path::new(path), e))?;
        let absolute = absolute
            .to_str()
            .ok_or_else(|| config("the warehouse's path is not UTF-8"))?;
        Ok(format!("file://{}", absolute.trim_end_matches('/')))
    }

    /// Checks that files can be created in a warehouse, without leaving a trace.
    pub(crate) async fn check_writable(&self, warehouse: &str, ids: &dyn Ids) -> Result<()> {
        let probe = format!(".{:032x}.probe", ids.random());
        let location = format!("{warehouse}/{probe}");
        if let Some(object) = self.object(&location)? {
            return check_bucket(object, &location).await;
        }
        let warehouse = local_path(warehouse).unwrap_or(warehouse).to_owned();
        tokio::task::spawn_blocking(move || check_directory(Path::new(&warehouse), &probe))
            .await
            .map_err(|e| Error::internal("a file system task did not finish").caused_by(e))?
    }
}

async fn check_bucket(object: Located, location: &str) -> Result<()> {
    let probe = async {
        object.store.put(&object.path, Vec::new().into()).await?;
        object.store.delete(&object.path).await
    };
    probe
        .await
        .map_err(|e| object_error("cannot write to the warehouse", location, e))
}

fn check_directory(warehouse: &Path, probe: &str) -> Result<()> {
    let existing = warehouse
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(warehouse);
    let probe = existing.join(probe);
    std::fs::File::create_new(&probe)
        .and_then(|_| std::fs::remove_file(&probe))
        .map_err(|e| io_error("cannot write to the warehouse", warehouse, e))
}
