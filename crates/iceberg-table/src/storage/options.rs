//! The configuration section of a storage.

use model::{Error, ErrorKind, Result, Secret};
use object_store::aws::AmazonS3Builder;
use schemars::JsonSchema;
use serde::Deserialize;

/// How files are reached. Local files need nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageOptions {
    /// Amazon S3 and services that speak its protocol.
    pub s3: S3Options,
}

/// Access to S3. What is left out is taken from the environment (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, …), from a web identity, or from
/// the machine's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Options {
    /// The URL of a service that is not Amazon's. With `http:` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key.
    pub secret_access_key: Option<Secret>,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Whether the bucket is in the URL's path and not in its host name; so it is by default.
    pub path_style: Option<bool>,
}

impl StorageOptions {
    /// The rules that no single field can check.
    ///
    /// # Errors
    ///
    /// `Config`, with the field and the rule.
    pub fn validate(&self) -> Result<()> {
        if self.s3.access_key_id.is_some() != self.s3.secret_access_key.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.s3`: `access_key_id` and `secret_access_key` go together",
            ));
        }
        Ok(())
    }
}

impl S3Options {
    /// A client of these options, and of the environment for what they leave out.
    pub(crate) fn builder(&self) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::from_env();
        if let Some(endpoint) = &self.endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &self.access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &self.secret_access_key {
            builder = builder.with_secret_access_key(secret.reveal());
        }
        if let Some(token) = &self.session_token {
            builder = builder.with_token(token.reveal());
        }
        if let Some(path_style) = self.path_style {
            builder = builder.with_virtual_hosted_style_request(!path_style);
        }
        builder
    }
}
