//! What goes over the wire: the parts of Iceberg's REST specification that are used.

use std::collections::HashMap;

use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

/// `GET v1/config`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ServerConfig {
    #[serde(default)]
    pub(super) defaults: HashMap<String, String>,
    #[serde(default)]
    pub(super) overrides: HashMap<String, String>,
}

/// `POST v1/oauth/tokens`.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) access_token: String,
    /// In seconds.
    pub(super) expires_in: Option<u32>,
}

/// `POST …/namespaces`.
#[derive(Debug, Serialize)]
pub(super) struct NewNamespace<'a> {
    pub(super) namespace: Vec<&'a str>,
}

/// `GET …/namespaces`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Namespaces {
    pub(super) namespaces: Vec<Vec<String>>,
    pub(super) next_page_token: Option<String>,
}

/// `GET …/tables`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Tables {
    pub(super) identifiers: Vec<Identifier>,
    pub(super) next_page_token: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Identifier {
    pub(super) namespace: Vec<String>,
    pub(super) name: String,
}

/// `POST …/tables`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateTable<'a> {
    pub(super) name: &'a str,
    pub(super) schema: &'a Schema,
    pub(super) partition_spec: &'a UnboundPartitionSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) write_order: Option<&'a SortOrder>,
    pub(super) stage_create: bool,
    pub(super) properties: &'a HashMap<String, String>,
}

/// `GET …/tables/{table}`, and the answer to its creation.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LoadedTable {
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
    #[serde(default)]
    pub(super) config: HashMap<String, String>,
    #[serde(default)]
    pub(super) storage_credentials: Vec<StorageCredential>,
}

/// Credentials for files below a prefix.
#[derive(Deserialize)]
pub(super) struct StorageCredential {
    pub(super) prefix: String,
    pub(super) config: HashMap<String, String>,
}

/// `POST …/tables/{table}`.
#[derive(Debug, Serialize)]
pub(super) struct CommitTable<'a> {
    pub(super) identifier: Identifier,
    pub(super) requirements: &'a [TableRequirement],
    pub(super) updates: &'a [TableUpdate],
}

/// The answer to a commit.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Committed {
    pub(super) metadata_location: String,
    pub(super) metadata: TableMetadata,
}

/// What a refusal looks like.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) error: RefusalDetail,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RefusalDetail {
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) r#type: String,
}
