//! Credentials that the service gives for a table's files, renewed before they expire.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use model::{Clock, Result, Secret, TableName, Timestamp};
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use tokio::sync::Mutex;

use super::client::{Answer, Service};
use super::gone;
use super::protocol::LoadedTable;
use crate::storage::{Access, S3Options, Storage, same_scheme};

/// Credentials are renewed so long before they expire.
const EARLY_MS: i64 = 300_000;

/// The credentials of all tables that were loaded.
#[derive(Debug)]
pub(super) struct Grants {
    service: Arc<Service>,
    clock: Arc<dyn Clock>,
    tables: Mutex<HashMap<TableName, Known>>,
}

/// A table's storage, and what it was made of.
#[derive(Debug)]
struct Known {
    storage: Storage,
    parts: Vec<Part>,
}

/// What the service said of the files below a prefix.
#[derive(Debug)]
struct Part {
    prefix: String,
    /// Without credentials.
    s3: S3Options,
    grant: Option<Arc<Grant>>,
}

/// Credentials for the files below a prefix.
#[derive(Debug)]
struct Grant {
    service: Arc<Service>,
    clock: Arc<dyn Clock>,
    table: TableName,
    prefix: String,
    current: Mutex<Granted>,
}

#[derive(Debug, Clone)]
struct Granted {
    credential: Arc<AwsCredential>,
    expires: Option<Timestamp>,
}

/// What one part of the service's answer says of a prefix.
struct Offer {
    prefix: String,
    s3: S3Options,
    granted: Option<Granted>,
}

impl Grants {
    pub(super) fn new(service: Arc<Service>, clock: Arc<dyn Clock>) -> Self {
        Self {
            service,
            clock,
            tables: Mutex::default(),
        }
    }

    /// The storage for a table as it was just loaded. As long as the service says the same of it but for the credentials, it is the same,
    /// with its connections.
    pub(super) async fn storage(
        &self,
        storage: &Storage,
        table: &TableName,
        loaded: &LoadedTable,
    ) -> Storage {
        let offers = offers(loaded);
        if offers.is_empty() {
            return storage.clone();
        }
        let mut tables = self.tables.lock().await;
        if let Some(known) = tables.get(table)
            && known.parts.len() == offers.len()
            && known
                .parts
                .iter()
                .zip(&offers)
                .all(|(part, offer)| part.is_of(offer))
        {
            for (part, offer) in known.parts.iter().zip(offers) {
                part.take(offer).await;
            }
            return known.storage.clone();
        }
        let parts: Vec<_> = offers.into_iter().map(|offer| self.part(table, offer)).collect();
        let accesses = parts.iter().map(|part| Access {
            prefix: part.prefix.clone(),
            s3: part.s3.over(storage.s3()),
            credentials: part.grant.clone().map(|grant| grant as AwsCredentialProvider),
        });
        let known = Known {
            storage: storage.granted(accesses.collect()),
            parts,
        };
        let storage = known.storage.clone();
        tables.insert(table.clone(), known);
        storage
    }

    fn part(&self, table: &TableName, offer: Offer) -> Part {
        let grant = offer.granted.map(|granted| {
            Arc::new(Grant {
                service: self.service.clone(),
                clock: self.clock.clone(),
                table: table.clone(),
                prefix: offer.prefix.clone(),
                current: Mutex::new(granted),
            })
        });
        Part {
            prefix: offer.prefix,
            s3: offer.s3,
            grant,
        }
    }
}

#[cfg(test)]
impl Grants {
    /// The grants of a table that was loaded.
    pub(super) async fn of(
        &self,
        table: &TableName,
    ) -> Vec<Arc<impl CredentialProvider<Credential = AwsCredential>>> {
        let tables = self.tables.lock().await;
        tables[table]
            .parts
            .iter()
            .filter_map(|part| part.grant.clone())
            .collect()
    }
}

impl Part {
    fn is_of(&self, offer: &Offer) -> bool {
        self.prefix == offer.prefix && self.s3 == offer.s3 && self.grant.is_some() == offer.granted.is_some()
    }

    async fn take(&self, offer: Offer) {
        if let (Some(grant), Some(granted)) = (&self.grant, offer.granted) {
            *grant.current.lock().await = granted;
        }
    }
}

impl Grant {
    /// Asks the service anew: a table is loaded with fresh credentials.
    async fn renewed(&self) -> Result<Option<Granted>> {
        match self.service.table(&self.table).await? {
            Answer::Good(loaded) => Ok(offers(&loaded)
                .into_iter()
                .find(|offer| offer.prefix == self.prefix)
                .and_then(|offer| offer.granted)),
            missing if missing.is_missing() => Err(gone(&self.table)),
            bad => Err(bad.into_error("cannot renew the credentials for a table's files")),
        }
    }
}

#[async_trait]
impl CredentialProvider for Grant {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut current = self.current.lock().await;
        let now = self.clock.now().0;
        if current.expires.is_some_and(|expires| expires.0 - now < EARLY_MS) {
            let renewed = self
                .renewed()
                .await
                .map_err(|error| object_store::Error::Generic {
                    store: "S3",
                    source: Box::new(error),
                })?;
            if let Some(renewed) = renewed {
                *current = renewed;
            }
        }
        Ok(current.credential.clone())
    }
}

/// What the service says of the table's files: for all of them, and for those below prefixes.
fn offers(loaded: &LoadedTable) -> Vec<Offer> {
    let whole = offer("s3://", &loaded.config);
    let parts = loaded.storage_credentials.iter().map(|part| {
        let mut config = loaded.config.clone();
        config.extend(part.config.clone());
        offer(&part.prefix, &config)
    });
    let empty = |offer: &Offer| offer.granted.is_none() && offer.s3 == S3Options::default();
    std::iter::once(whole)
        .chain(parts)
        .filter(|offer| !empty(offer))
        .collect()
}

fn offer(prefix: &str, config: &HashMap<String, String>) -> Offer {
    let get = |name: &str| config.get(name).cloned();
    let key = get("s3.access-key-id").zip(get("s3.secret-access-key"));
    Offer {
        prefix: same_scheme(prefix).into_owned(),
        s3: S3Options {
            endpoint: get("s3.endpoint"),
            region: get("client.region").or_else(|| get("s3.region")),
            path_style: get("s3.path-style-access").and_then(|value| value.parse().ok()),
            ..S3Options::default()
        },
        granted: key.map(|(key_id, secret_key)| Granted {
            credential: Arc::new(AwsCredential {
                key_id,
                secret_key,
                token: get("s3.session-token"),
            }),
            expires: get("s3.session-token-expires-at-ms")
                .and_then(|value| value.parse().ok())
                .map(Timestamp),
        }),
    }
}

impl S3Options {
    /// These, and what they leave open from others.
    fn over(&self, others: Option<&Self>) -> Self {
        let others = others.cloned().unwrap_or_default();
        let or = |ours: &Option<String>, theirs: Option<String>| ours.clone().or(theirs);
        let secret = |ours: &Option<Secret>, theirs: Option<Secret>| ours.clone().or(theirs);
        Self {
            endpoint: or(&self.endpoint, others.endpoint),
            region: or(&self.region, others.region),
            access_key_id: or(&self.access_key_id, others.access_key_id),
            secret_access_key: secret(&self.secret_access_key, others.secret_access_key),
            session_token: secret(&self.session_token, others.session_token),
            path_style: self.path_style.or(others.path_style),
        }
    }
}
