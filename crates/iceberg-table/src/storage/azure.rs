//! Accounts of Azure Storage: which host is asked for one, and with which credentials.

use std::sync::{Arc, OnceLock};

use model::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::bucket::unreachable;
use super::environment;
use super::options::AzureOptions;

/// What the hosts of all accounts end with: of Azure itself, of the clouds of governments and of China, of accounts in DNS zones of their
/// own, and of Fabric. A location can come from a table that somebody else has written, and no other host is sent credentials.
const DOMAINS: [&str; 5] = [
    ".core.windows.net",
    ".core.usgovcloudapi.net",
    ".core.chinacloudapi.cn",
    ".storage.azure.net",
    ".fabric.microsoft.com",
];

/// The accounts that are reached with the same options.
pub(super) struct Azure {
    options: AzureOptions,
    /// The first one that was opened.
    account: OnceLock<String>,
}

impl Azure {
    pub(super) fn new(options: AzureOptions) -> Self {
        Self {
            options,
            account: OnceLock::new(),
        }
    }

    /// Nothing is connected to yet.
    pub(super) fn open(&self, container: &str, host: &str) -> Result<Arc<dyn ObjectStore>> {
        let environment = environment::settings("AZURE_", "IDENTITY_ENDPOINT");
        let client = self.client(host, environment)?;
        let store = client.with_container_name(container).build();
        Ok(Arc::new(store.map_err(unreachable("Azure", container))?))
    }

    /// A client of the account at this host, by the options, and by the environment for what they leave out.
    fn client(
        &self,
        host: &str,
        environment: Vec<(AzureConfigKey, String)>,
    ) -> Result<MicrosoftAzureBuilder> {
        let options = &self.options;
        let account = host.split('.').next().unwrap_or(host);
        let mut builder = environment
            .into_iter()
            .filter(|(key, _)| options.takes_from_environment(*key))
            .fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| {
                builder.with_config(key, value)
            })
            .with_account(account);
        if let Some(endpoint) = &options.endpoint {
            builder = builder
                .with_endpoint(endpoint.clone())
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if builder.get_config_value(&AzureConfigKey::Endpoint).is_some() {
            self.is_the_only(account)?;
        } else {
            builder = builder.with_endpoint(service(host)?);
        }
        if let Some(key) = &options.access_key {
            builder = builder.with_access_key(key.reveal());
        }
        if let Some(token) = &options.sas_token {
            builder = builder.with_config(AzureConfigKey::SasKey, token.reveal());
        }
        if let Some(tenant) = &options.tenant_id {
            builder = builder.with_tenant_id(tenant);
        }
        if let Some(client) = &options.client_id {
            builder = builder.with_client_id(client);
        }
        if let Some(secret) = &options.client_secret {
            builder = builder.with_client_secret(secret.reveal());
        }
        Ok(builder)
    }

    /// An endpoint is one account's; what is in another would be looked for there, and written there.
    fn is_the_only(&self, account: &str) -> Result<()> {
        let first = self.account.get_or_init(|| account.to_owned());
        if first == account {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Config,
            "there is one endpoint for Azure, and locations in two accounts",
        )
        .with("account", first)
        .with("other account", account)
        .hint("leave `iceberg.storage.azure.endpoint` out, so that each account is asked at its own host"))
    }
}

/// The URL of an account's service for blobs. The one for files, which locations name, is at another host.
fn service(host: &str) -> Result<String> {
    let domain = DOMAINS.iter().find(|domain| host.ends_with(**domain));
    let service = domain
        .and_then(|domain| host.strip_suffix(domain)?.rsplit_once('.').zip(Some(domain)))
        .filter(|((account, service), _)| {
            !account.is_empty()
                && account
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
                && ["blob", "dfs"].contains(service)
        });
    match service {
        Some(((account, _), domain)) => Ok(format!("https://{account}.blob{domain}")),
        None => Err(Error::new(ErrorKind::Config, "this is no host of an account in Azure")
            .with("host", host)
            .hint("credentials are sent to no other; if it is the one of your account, set `iceberg.storage.azure.endpoint`")),
    }
}

impl AzureOptions {
    /// Credentials are configured, or the environment's, and never some of each. A configured identity may be shown by the machine.
    fn takes_from_environment(&self, key: AzureConfigKey) -> bool {
        use AzureConfigKey as Key;
        let has_secret = self.has_secret();
        match key {
            Key::AccessKey
            | Key::SasKey
            | Key::Token
            | Key::ClientId
            | Key::ClientSecret
            | Key::FabricTokenServiceUrl
            | Key::FabricWorkloadHost
            | Key::FabricSessionToken
            | Key::FabricClusterIdentifier
            | Key::UseAzureCli
            | Key::ObjectId
            | Key::MsiResourceId
            | Key::SkipSignature => !has_secret && self.client_id.is_none(),
            Key::FederatedTokenFile | Key::AuthorityId | Key::MsiEndpoint => !has_secret,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Secret;

    use super::*;

    const HOST: &str = "acc.dfs.core.windows.net";

    fn azure(options: AzureOptions) -> Azure {
        Azure::new(options)
    }

    fn with_endpoint(endpoint: &str) -> AzureOptions {
        AzureOptions {
            endpoint: Some(endpoint.into()),
            ..AzureOptions::default()
        }
    }

    #[test]
    fn only_hosts_of_azure_are_asked() {
        for (host, expected) in [
            (HOST, Some("https://acc.blob.core.windows.net")),
            (
                "acc.blob.core.windows.net",
                Some("https://acc.blob.core.windows.net"),
            ),
            (
                "acc.z01.dfs.storage.azure.net",
                Some("https://acc.z01.blob.storage.azure.net"),
            ),
            (
                "acc.dfs.core.usgovcloudapi.net",
                Some("https://acc.blob.core.usgovcloudapi.net"),
            ),
            (
                "acc.dfs.core.chinacloudapi.cn",
                Some("https://acc.blob.core.chinacloudapi.cn"),
            ),
            (
                "onelake.dfs.fabric.microsoft.com",
                Some("https://onelake.blob.fabric.microsoft.com"),
            ),
            ("acc.dfs.attacker.example", None),
            ("acc.dfs.core.windows.net.attacker.example", None),
            ("acc.dfs.evilcore.windows.net", None),
            ("attacker.example#.dfs.core.windows.net", None),
            ("attacker.example?.dfs.core.windows.net", None),
            ("attacker.example\\.dfs.core.windows.net", None),
            ("attacker.example:443.dfs.core.windows.net", None),
            ("me@attacker.example:.dfs.core.windows.net", None),
            (".dfs.core.windows.net", None),
            ("dfs.core.windows.net", None),
            ("acc.queue.core.windows.net", None),
            ("localhost", None),
        ] {
            let client = azure(AzureOptions::default()).client(host, vec![]);
            let endpoint = client
                .ok()
                .map(|client| client.get_config_value(&AzureConfigKey::Endpoint));
            assert_eq!(endpoint, expected.map(|url| Some(url.to_owned())), "{host}");
        }
    }

    #[test]
    fn an_endpoint_is_one_accounts() {
        let endpoint = "https://storage.example";
        let of_environment = vec![(AzureConfigKey::Endpoint, endpoint.to_owned())];
        for (options, environment) in [
            (with_endpoint(endpoint), vec![]),
            (AzureOptions::default(), of_environment),
        ] {
            let azure = azure(options);
            for (host, is_refused) in [
                (HOST, false),
                ("acc.blob.core.windows.net", false),
                ("acc.internal", false),
                ("other.dfs.core.windows.net", true),
            ] {
                let client = azure.client(host, environment.clone());
                assert_eq!(client.is_err(), is_refused, "{host}");
                if let Ok(client) = client {
                    let asked = client.get_config_value(&AzureConfigKey::Endpoint);
                    assert_eq!(asked.as_deref(), Some(endpoint));
                }
            }
        }
        let azure = azure(AzureOptions::default());
        for host in [HOST, "other.dfs.core.windows.net"] {
            assert!(azure.client(host, vec![]).is_ok(), "{host}");
        }
    }

    #[test]
    fn credentials_are_configured_or_the_environments() {
        use AzureConfigKey as Key;
        let environment = || {
            [
                (Key::AccessKey, "key"),
                (Key::SasKey, "sas"),
                (Key::Token, "token"),
                (Key::ClientId, "client"),
                (Key::ClientSecret, "secret"),
                (Key::AuthorityId, "tenant"),
                (Key::FederatedTokenFile, "file"),
                (Key::AuthorityHost, "authority"),
            ]
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec()
        };
        let own = Some("own");
        let secret = || own.map(Secret::new);
        let id = || own.map(str::to_owned);
        let application = AzureOptions {
            tenant_id: id(),
            client_id: id(),
            ..AzureOptions::default()
        };
        type Expected = [Option<&'static str>; 7];
        let cases: [(AzureOptions, Expected); 5] = [
            (
                AzureOptions::default(),
                ["key", "sas", "token", "client", "secret", "tenant", "file"].map(Some),
            ),
            (
                AzureOptions {
                    access_key: secret(),
                    ..AzureOptions::default()
                },
                [own, None, None, None, None, None, None],
            ),
            (
                AzureOptions {
                    sas_token: secret(),
                    ..AzureOptions::default()
                },
                [None, own, None, None, None, None, None],
            ),
            (
                AzureOptions {
                    client_secret: secret(),
                    ..application.clone()
                },
                [None, None, None, own, own, own, None],
            ),
            (application, [None, None, None, own, None, own, Some("file")]),
        ];
        for (options, expected) in cases {
            let client = azure(options).client(HOST, environment()).unwrap();
            let keys = environment().into_iter().map(|(key, _)| key);
            let found: Vec<_> = keys.map(|key| client.get_config_value(&key)).collect();
            let mut expected: Vec<_> = expected.iter().map(|value| value.map(str::to_owned)).collect();
            expected.push(Some("authority".to_owned()));
            assert_eq!(found, expected);
        }
    }
}
