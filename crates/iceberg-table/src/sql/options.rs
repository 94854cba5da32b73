//! The configuration section of the SQL catalog.

use model::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// Tables whose current metadata a database names, as the JDBC catalog of Iceberg and the SQL catalog of PyIceberg keep them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlOptions {
    /// The database: `sqlite:///path/to/catalog.db` or `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub uri: Secret,
    /// The catalog's name, by which one database can hold several.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where new tables are kept: a directory, or `s3://bucket/prefix`.
    pub warehouse: String,
}

fn default_name() -> String {
    "default".to_owned()
}
