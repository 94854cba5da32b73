//! The configuration section of the REST catalog.

use std::collections::BTreeMap;

use model::{Error, ErrorKind, Result, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// A catalog service that speaks Iceberg's REST protocol: Polaris, Lakekeeper, Nessie, Unity, Glue, S3 Tables and others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestOptions {
    /// The service's URL, up to but without `/v1`.
    pub uri: String,
    /// Which of the service's warehouses, where it has several.
    #[serde(default)]
    pub warehouse: Option<String>,
    /// A fixed bearer token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A login that gets bearer tokens, and new ones before they expire.
    #[serde(default)]
    pub oauth2: Option<OAuth2Options>,
    /// Requests signed as Amazon's services want them, with the credentials of `iceberg.storage.s3`.
    #[serde(default)]
    pub sigv4: Option<SigV4Options>,
    /// Headers that are sent with every request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Whether the service is asked for credentials to the tables' files.
    #[serde(default = "yes")]
    pub vended_credentials: bool,
}

/// OAuth2 by client credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuth2Options {
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The token service's URL; `<uri>/v1/oauth/tokens` by default.
    #[serde(default)]
    pub server_uri: Option<String>,
    /// What the token is for.
    #[serde(default = "default_scope")]
    pub scope: String,
}

/// AWS Signature Version 4.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigV4Options {
    /// The service's name in signatures: `glue`, `s3tables`, `execute-api`.
    pub service: String,
    /// The region.
    pub region: String,
}

fn yes() -> bool {
    true
}

fn default_scope() -> String {
    "catalog".to_owned()
}

impl RestOptions {
    /// The rules that no single field can check.
    ///
    /// # Errors
    ///
    /// `Config`, with the field and the rule.
    pub fn validate(&self) -> Result<()> {
        let ways = [self.token.is_some(), self.oauth2.is_some(), self.sigv4.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.rest`: only one of `token`, `oauth2` and `sigv4` can be given",
            ));
        }
        Ok(())
    }
}
