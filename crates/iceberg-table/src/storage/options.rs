//! The configuration section of a storage.

use model::{Error, ErrorKind, Result, Secret};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::environment;

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
/// the machine's role; no credential is if there is one here.
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
/// credentials, or from the machine's role; no credential is if there is one here.
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
/// is taken from the environment (`AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_CLIENT_ID`, …), from a workload's identity, or from the machine's; no
/// credential is if there is one here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AzureOptions {
    /// The URL of the account's blob service, if it is not Azure's own; then only one account can be reached. With `http:` nothing is encrypted.
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
        if self.s3.session_token.is_some() && self.s3.access_key_id.is_none() {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.s3`: `session_token` needs `access_key_id` and `secret_access_key`",
            ));
        }
        if self.gcs.service_account_path.is_some() && self.gcs.service_account_key.is_some() {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.gcs`: `service_account_path` and `service_account_key` are two ways to say one thing",
            ));
        }
        let key = self.gcs.service_account_key.as_ref();
        if key.is_some_and(|key| serde_json::from_str::<Map<String, Value>>(key.reveal()).is_err()) {
            // Why it is none would show it.
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.gcs`: `service_account_key` is not a JSON object",
            )
            .hint("give the text of the file that Google made, or its path as `service_account_path`"));
        }
        self.azure.validate()
    }
}

impl S3Options {
    /// A client of these options, and of the environment for what they leave out.
    pub(crate) fn builder(&self) -> AmazonS3Builder {
        self.client(environment::settings("AWS_", ""))
    }

    /// Credentials are configured, or the environment's, and never some of each.
    fn client(&self, environment: Vec<(AmazonS3ConfigKey, String)>) -> AmazonS3Builder {
        use AmazonS3ConfigKey as Key;
        let has_own = self.access_key_id.is_some();
        let is_credential = |key| {
            matches!(
                key,
                Key::AccessKeyId | Key::SecretAccessKey | Key::Token | Key::SkipSignature
            )
        };
        let mut builder = environment
            .into_iter()
            .filter(|(key, _)| !(has_own && is_credential(*key)))
            .fold(AmazonS3Builder::new(), |builder, (key, value)| {
                builder.with_config(key, value)
            });
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
        self.client(environment::settings("GOOGLE_", "SERVICE_ACCOUNT"))
    }

    /// Credentials are configured, or the environment's, and never some of each.
    fn client(&self, environment: Vec<(GoogleConfigKey, String)>) -> GoogleCloudStorageBuilder {
        use GoogleConfigKey as Key;
        let has_own = self.service_account_path.is_some() || self.service_account_key.is_some();
        let is_credential = |key| {
            matches!(
                key,
                Key::ServiceAccount
                    | Key::ServiceAccountKey
                    | Key::ApplicationCredentials
                    | Key::SkipSignature
            )
        };
        let mut builder = environment
            .into_iter()
            .filter(|(key, _)| !(has_own && is_credential(*key)))
            .fold(GoogleCloudStorageBuilder::new(), |builder, (key, value)| {
                builder.with_config(key, value)
            });
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
    /// Whether there is a credential that needs nothing of the machine.
    pub(super) fn has_secret(&self) -> bool {
        self.secrets() > 0
    }

    fn secrets(&self) -> usize {
        [&self.access_key, &self.sas_token, &self.client_secret]
            .into_iter()
            .flatten()
            .count()
    }

    fn validate(&self) -> Result<()> {
        let is_application = self.tenant_id.is_some() || self.client_id.is_some();
        if self.secrets() > 1 || is_application && (self.access_key.is_some() || self.sas_token.is_some()) {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.azure`: an `access_key`, a `sas_token` and an application are three ways to say one thing",
            ));
        }
        if (self.client_secret.is_some() && self.tenant_id.is_none())
            || (self.client_id.is_none() && (self.tenant_id.is_some() || self.client_secret.is_some()))
        {
            return Err(Error::new(
                ErrorKind::Config,
                "`iceberg.storage.azure`: `client_secret` needs `tenant_id` and `client_id`, and `tenant_id` needs `client_id`",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Option<Secret> {
        Some(Secret::new("own"))
    }

    fn id() -> Option<String> {
        Some("own".to_owned())
    }

    #[test]
    fn credentials_are_whole_and_given_once() {
        let s3 = |id, key, token| StorageOptions {
            s3: S3Options {
                access_key_id: id,
                secret_access_key: key,
                session_token: token,
                ..S3Options::default()
            },
            ..StorageOptions::default()
        };
        let gcs = |path, key: Option<&str>| StorageOptions {
            gcs: GcsOptions {
                service_account_path: path,
                service_account_key: key.map(Secret::new),
                ..GcsOptions::default()
            },
            ..StorageOptions::default()
        };
        let azure = |access_key, sas_token, tenant_id, client_id, client_secret| StorageOptions {
            azure: AzureOptions {
                access_key,
                sas_token,
                tenant_id,
                client_id,
                client_secret,
                ..AzureOptions::default()
            },
            ..StorageOptions::default()
        };
        for (options, is_good) in [
            (StorageOptions::default(), true),
            (s3(id(), secret(), None), true),
            (s3(id(), secret(), secret()), true),
            (s3(id(), None, None), false),
            (s3(None, secret(), None), false),
            (s3(None, None, secret()), false),
            (gcs(id(), None), true),
            (gcs(None, Some(r#"{"type": "service_account"}"#)), true),
            (gcs(id(), Some("{}")), false),
            (gcs(None, Some(r#""{\"private_key\": \"SECRET\"}""#)), false),
            (gcs(None, Some("SECRET")), false),
            (azure(secret(), None, None, None, None), true),
            (azure(None, secret(), None, None, None), true),
            (azure(None, None, id(), id(), secret()), true),
            (azure(None, None, id(), id(), None), true),
            (azure(None, None, None, id(), None), true),
            (azure(secret(), secret(), None, None, None), false),
            (azure(secret(), None, id(), id(), secret()), false),
            (azure(None, secret(), id(), id(), None), false),
            (azure(None, None, None, id(), secret()), false),
            (azure(None, None, id(), None, secret()), false),
            (azure(None, None, None, None, secret()), false),
            (azure(None, None, id(), None, None), false),
        ] {
            let validated = options.validate();
            assert_eq!(validated.is_ok(), is_good, "{options:?}");
            let shown = format!("{validated:?}");
            assert!(!shown.contains("SECRET"), "{shown}");
        }
    }

    #[test]
    fn configured_credentials_of_s3_are_not_mixed_with_the_environments() {
        use AmazonS3ConfigKey as Key;
        let environment = || {
            [
                (Key::AccessKeyId, "id"),
                (Key::SecretAccessKey, "key"),
                (Key::Token, "token"),
                (Key::Region, "eu-west-1"),
            ]
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec()
        };
        let own = S3Options {
            access_key_id: id(),
            secret_access_key: secret(),
            ..S3Options::default()
        };
        for (options, expected) in [
            (
                S3Options::default(),
                ["id", "key", "token", "eu-west-1"].map(Some),
            ),
            (own, [Some("own"), Some("own"), None, Some("eu-west-1")]),
        ] {
            let client = options.client(environment());
            let found = environment()
                .into_iter()
                .map(|(key, _)| client.get_config_value(&key));
            let found: Vec<_> = found.collect();
            assert_eq!(found, expected.map(|value| value.map(str::to_owned)));
        }
    }

    #[test]
    fn configured_credentials_of_google_are_not_mixed_with_the_environments() {
        use GoogleConfigKey as Key;
        let environment = || {
            [
                (Key::ServiceAccount, "path"),
                (Key::ServiceAccountKey, "key"),
                (Key::ApplicationCredentials, "default"),
                (Key::BaseUrl, "https://storage.example"),
            ]
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec()
        };
        let url = Some("https://storage.example");
        let by = |path: Option<String>, key: Option<Secret>| GcsOptions {
            service_account_path: path,
            service_account_key: key,
            ..GcsOptions::default()
        };
        for (options, expected) in [
            (by(None, None), [Some("path"), Some("key"), Some("default"), url]),
            (by(id(), None), [Some("own"), None, None, url]),
            (by(None, secret()), [None, Some("own"), None, url]),
        ] {
            let client = options.client(environment());
            let found = environment()
                .into_iter()
                .map(|(key, _)| client.get_config_value(&key));
            let found: Vec<_> = found.collect();
            assert_eq!(found, expected.map(|value| value.map(str::to_owned)));
        }
    }
}
