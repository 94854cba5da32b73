//! The configuration section of a storage.

use model::{Error, ErrorKind, Result, Secret};
use object_store::ClientOptions;
use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

/// How files are reached. Local files need nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageOptions {
    /// Amazon S3 and services that speak its protocol.
    pub s3: S3Options,
    /// Google Cloud Storage.
    pub gcs: GcsOptions,
    /// Azure Blob Storage and Data Lake Storage.
    pub azure: AzureOptions,
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

/// Access to Google Cloud Storage. What is left out is taken from the environment (`GOOGLE_SERVICE_ACCOUNT`, …), from the application default
/// credentials, or from the machine's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcsOptions {
    /// The URL of a service that is not Google's. With `http:` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The file with the service account's key.
    pub service_account_path: Option<String>,
    /// The service account's key itself, as JSON.
    pub service_account_key: Option<Secret>,
}

/// Access to Azure. The account and the container are in the locations (`abfss://container@account.dfs.core.windows.net/…`). What is left out
/// is taken from the environment (`AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_CLIENT_ID`, …), from a workload's identity, or from the machine's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AzureOptions {
    /// The URL of the account's blob service, if it is not the one that the locations name. With `http:` nothing is encrypted.
    pub endpoint: Option<String>,
    /// The account's key.
    pub access_key: Option<Secret>,
    /// A shared access signature.
    pub sas_token: Option<Secret>,
    /// The tenant of an application.
    pub tenant_id: Option<String>,
    /// The application, or the identity of the machine.
    pub client_id: Option<String>,
    /// The application's secret.
    pub client_secret: Option<Secret>,
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
        if self.gcs.service_account_path.is_some() && self.gcs.service_account_key.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.gcs`: `service_account_path` and `service_account_key` are two ways to say one thing",
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

impl GcsOptions {
    /// A client of these options, and of the environment for what they leave out.
    pub(crate) fn builder(&self) -> GoogleCloudStorageBuilder {
        let mut builder = GoogleCloudStorageBuilder::from_env();
        if let Some(endpoint) = &self.endpoint {
            let allow_http = endpoint.starts_with("http://");
            builder = builder
                .with_base_url(endpoint)
                .with_client_options(ClientOptions::new().with_allow_http(allow_http));
        }
        if let Some(path) = &self.service_account_path {
            builder = builder.with_service_account_path(path);
        }
        if let Some(key) = &self.service_account_key {
            builder = builder.with_service_account_key(key.reveal());
        }
        builder
    }
}

impl AzureOptions {
    /// A client of the account at this host, with these options, and of the environment for what they leave out.
    pub(crate) fn builder(&self, host: &str) -> MicrosoftAzureBuilder {
        let account = host.split('.').next().unwrap_or(host);
        let mut builder = MicrosoftAzureBuilder::from_env().with_account(account);
        if let Some(endpoint) = &self.endpoint {
            builder = builder
                .with_endpoint(endpoint.clone())
                .with_allow_http(endpoint.starts_with("http://"));
        } else if builder.get_config_value(&AzureConfigKey::Endpoint).is_none() {
            // The service for files is at another host than the one for blobs, which is used.
            builder = builder.with_endpoint(format!("https://{}", host.replacen(".dfs.", ".blob.", 1)));
        }
        if let Some(key) = &self.access_key {
            builder = builder.with_access_key(key.reveal());
        }
        if let Some(token) = &self.sas_token {
            builder = builder.with_config(AzureConfigKey::SasKey, token.reveal());
        }
        if let Some(tenant) = &self.tenant_id {
            builder = builder.with_tenant_id(tenant);
        }
        if let Some(client) = &self.client_id {
            builder = builder.with_client_id(client);
        }
        if let Some(secret) = &self.client_secret {
            builder = builder.with_client_secret(secret.reveal());
        }
        builder
    }
}
