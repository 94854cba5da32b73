//! The REST catalog: a service keeps the tables, checks requirements and swaps metadata.
//!
//! An answer that was lost, and the service's own 5xx, leave a commit in doubt; only a 409 is a lost race.

mod auth;
mod client;
mod grants;
mod options;
mod protocol;

use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::FormatVersion;
use model::{Clock, Error, ErrorKind, Result, TableName};
use reqwest::Url;
use serde::de::DeserializeOwned;

use crate::catalog::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use crate::metadata;
use crate::storage::Storage;
use client::{Answer, Service};
use grants::Grants;
pub use options::{OAuth2Options, RestOptions, SigV4Options};
use protocol::{
    CommitTable, Committed, CreateTable, Identifier, LoadedTable, Namespaces, NewNamespace, Tables,
};

/// A catalog service.
#[derive(Debug, Clone)]
pub struct RestCatalog {
    service: Arc<Service>,
    storage: Storage,
    grants: Arc<Grants>,
}

impl RestCatalog {
    /// The service of these options. Files are reached with what the service gives for them, else as `storage` says. Nothing is
    /// connected to yet.
    ///
    /// # Errors
    ///
    /// `Config` if an option cannot be used.
    pub fn new(options: &RestOptions, storage: Storage, clock: Arc<dyn Clock>) -> Result<Self> {
        let service = Arc::new(Service::new(options, &storage, clock.clone())?);
        Ok(Self {
            grants: Arc::new(Grants::new(service.clone(), clock)),
            service,
            storage,
        })
    }

    async fn handle(&self, name: &TableName, loaded: LoadedTable) -> Result<TableHandle> {
        let location = loaded.metadata_location.clone().unwrap_or_default();
        let storage = self.grants.storage(&self.storage, name, &loaded).await;
        metadata::open(name, loaded.metadata, location, &storage)
    }

    async fn create_namespace(&self, name: &str) -> Result<()> {
        let url = self.service.url(&["namespaces"]).await?;
        let body = NewNamespace {
            namespace: name.split('.').collect(),
        };
        match self.service.post::<serde_json::Value>(url, &body).await? {
            Answer::Good(_) => Ok(()),
            taken if taken.is_conflict() => Ok(()),
            bad => Err(bad.into_error("cannot create a namespace in the REST catalog")),
        }
    }

    async fn try_create(&self, table: &TableName, new: &NewTable) -> Result<Answer<LoadedTable>> {
        let namespace = self.service.namespace(table.schema()).await?;
        let url = self.service.url(&["namespaces", &namespace, "tables"]).await?;
        let mut properties = new.properties.clone();
        properties.insert("format-version".to_owned(), number(new.format).to_owned());
        let body = CreateTable {
            name: table.name(),
            schema: &new.schema,
            partition_spec: &new.partitions,
            write_order: (!new.sort_order.is_unsorted()).then_some(&new.sort_order),
            stage_create: false,
            properties: &properties,
        };
        self.service.post(url, &body).await
    }

    /// All pages of a list.
    async fn pages<T: DeserializeOwned>(
        &self,
        url: Url,
        next: impl Fn(&T) -> Option<String>,
    ) -> Result<Vec<T>> {
        let mut pages = Vec::new();
        let mut token = Some(String::new());
        while let Some(page_token) = token.take() {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("pageToken", &page_token);
            match self.service.get::<T>(url).await? {
                Answer::Good(page) => {
                    token = next(&page).filter(|token| !token.is_empty());
                    pages.push(page);
                }
                // What was listed a moment ago and has been removed since.
                gone if gone.is_missing() => {}
                bad => return Err(bad.into_error("cannot list the REST catalog")),
            }
        }
        Ok(pages)
    }

    /// All namespaces, those in others included.
    async fn namespaces(&self) -> Result<Vec<Vec<String>>> {
        let mut found: Vec<Vec<String>> = Vec::new();
        let mut parents = vec![Vec::new()];
        while let Some(parent) = parents.pop() {
            let mut url = self.service.url(&["namespaces"]).await?;
            if !parent.is_empty() {
                let parent = self.service.namespace(&parent.join(".")).await?;
                url.query_pairs_mut().append_pair("parent", &parent);
            }
            let pages = self
                .pages(url, |page: &Namespaces| page.next_page_token.clone())
                .await?;
            let children: Vec<_> = pages.into_iter().flat_map(|page| page.namespaces).collect();
            parents.extend(children.iter().cloned());
            found.extend(children);
        }
        Ok(found)
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        match self.service.table(table).await? {
            Answer::Good(loaded) => self.handle(table, loaded).await.map(Some),
            missing if missing.is_missing() => Ok(None),
            bad => Err(bad
                .into_error("cannot load a table from the REST catalog")
                .with("table", table)),
        }
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        let mut answer = self.try_create(table, &new).await?;
        if answer.is_missing() {
            self.create_namespace(table.schema()).await?;
            answer = self.try_create(table, &new).await?;
        }
        match answer {
            Answer::Good(loaded) => self.handle(table, loaded).await.map(Some),
            taken if taken.is_conflict() => Ok(None),
            bad => Err(bad
                .into_error("cannot create a table in the REST catalog")
                .with("table", table)),
        }
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        let name = base.name();
        let url = self.service.table_url(name).await?;
        let body = CommitTable {
            identifier: Identifier {
                namespace: name.schema().split('.').map(str::to_owned).collect(),
                name: name.name().to_owned(),
            },
            requirements: &change.requirements,
            updates: &change.updates,
        };
        match self.service.post::<Committed>(url, &body).await? {
            Answer::Good(done) => {
                let opened = metadata::open(name, done.metadata, done.metadata_location, base.storage());
                Ok(opened.map_or_else(
                    |e| CatalogCommit::Unknown { why: e.to_string() },
                    |table| CatalogCommit::Done(Box::new(table)),
                ))
            }
            Answer::Refused(reqwest::StatusCode::CONFLICT, detail) => {
                Ok(CatalogCommit::Conflict { why: detail.message })
            }
            Answer::Lost(why) => Ok(CatalogCommit::Unknown { why }),
            bad => Err(bad
                .into_error("the REST catalog refused a commit")
                .with("table", name)),
        }
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.storage.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let mut tables = Vec::new();
        for levels in self.namespaces().await? {
            let namespace = self.service.namespace(&levels.join(".")).await?;
            let url = self.service.url(&["namespaces", &namespace, "tables"]).await?;
            let pages = self
                .pages(url, |page: &Tables| page.next_page_token.clone())
                .await?;
            tables.extend(
                pages
                    .into_iter()
                    .flat_map(|page| page.identifiers)
                    .map(|identifier| TableName::new(identifier.namespace.join("."), identifier.name)),
            );
        }
        tables.sort();
        Ok(tables)
    }

    /// Checks that the service knows us. Whether it lets us write is only known by writing.
    async fn check_writable(&self) -> Result<()> {
        let url = self.service.url(&["namespaces"]).await?;
        match self.service.get::<Namespaces>(url).await? {
            Answer::Good(_) => Ok(()),
            bad => Err(bad.into_error("cannot look into the REST catalog")),
        }
    }
}

impl Service {
    async fn table_url(&self, table: &TableName) -> Result<Url> {
        let namespace = self.namespace(table.schema()).await?;
        self.url(&["namespaces", &namespace, "tables", table.name()])
            .await
    }

    async fn table(&self, table: &TableName) -> Result<Answer<LoadedTable>> {
        self.get(self.table_url(table).await?).await
    }
}

fn number(format: FormatVersion) -> &'static str {
    match format {
        FormatVersion::V1 => "1",
        FormatVersion::V2 => "2",
        FormatVersion::V3 => "3",
    }
}

/// A table that is gone cannot give credentials.
fn gone(table: &TableName) -> Error {
    Error::new(ErrorKind::NotFound, "the table is gone from the REST catalog").with("table", table)
}

#[cfg(test)]
mod tests;
