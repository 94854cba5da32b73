//! How to reach a server: the configuration section of a SQL Server connection.

use std::path::PathBuf;

use model::{Error, ErrorKind, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encrypt {
    /// TLS before anything else (TDS 8.0); the certificate is always checked. SQL Server 2022, Azure SQL.
    Strict,
    /// TLS for everything, or no connection.
    #[default]
    Required,
    /// Only the login is encrypted, unless the server insists on more, and the certificate is **not checked** then: somebody in the
    /// middle can read the password. For trusted networks only.
    Optional,
}

/// Whether the session may write; `read_only` lets an availability group route to a readable secondary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationIntent {
    /// The primary.
    #[default]
    ReadWrite,
    /// A readable secondary, where there is one.
    ReadOnly,
}

/// A SQL Server connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectOptions {
    /// Name or address of the server.
    pub host: String,
    /// TCP port.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// SQL login.
    pub user: String,
    /// Its password; write `${NAME}` to take it from the environment.
    pub password: Secret,
    /// `strict`, `required` or `optional`.
    #[serde(default)]
    pub encrypt: Encrypt,
    /// Accept any certificate. For tests and trusted networks only.
    #[serde(default)]
    pub trust_server_certificate: bool,
    /// The server's own certificate (PEM or DER), accepted byte for byte instead of one that an authority vouches for; to be replaced
    /// when the server's is renewed. An authority of your own is trusted through the system's store or the environment variable `SSL_CERT_FILE`.
    #[serde(default)]
    pub server_certificate: Option<PathBuf>,
    /// The name in the certificate, where it differs from `host`.
    #[serde(default)]
    pub host_name_in_certificate: Option<String>,
    /// Shown in `sys.dm_exec_sessions`.
    #[serde(default = "default_application_name")]
    pub application_name: String,
    /// Seconds until a connection attempt is given up.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u32,
    /// Bytes of a TDS packet.
    #[serde(default = "default_packet_size")]
    pub packet_size: u16,
    /// Seconds that a statement waits for a lock; 0 waits for ever.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout_seconds: u32,
    /// Seconds that a statement may take in all; 0 sets no limit. Reading and loading streams is never limited.
    #[serde(default)]
    pub command_timeout_seconds: u32,
    /// `read_write` or `read_only`.
    #[serde(default)]
    pub application_intent: ApplicationIntent,
}

/// Characters that a login packet takes.
const APPLICATION_NAME_MAX: usize = 128;

fn default_port() -> u16 {
    1433
}

fn default_application_name() -> String {
    "sync-cli".to_owned()
}

fn default_connect_timeout() -> u32 {
    15
}

fn default_packet_size() -> u16 {
    32_767
}

fn default_lock_timeout() -> u32 {
    60
}

impl ConnectOptions {
    /// Whether both name the same database, as far as names tell.
    pub fn is_database_of(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host)
            && self.port == other.port
            && self.database.to_lowercase() == other.database.to_lowercase()
    }

    /// Options with every default.
    pub fn new(
        host: impl Into<String>,
        port: u16,
        database: impl Into<String>,
        user: impl Into<String>,
        password: Secret,
    ) -> Self {
        Self {
            host: host.into(),
            port,
            database: database.into(),
            user: user.into(),
            password,
            encrypt: Encrypt::default(),
            trust_server_certificate: false,
            server_certificate: None,
            host_name_in_certificate: None,
            application_name: default_application_name(),
            connect_timeout_seconds: default_connect_timeout(),
            packet_size: default_packet_size(),
            lock_timeout_seconds: default_lock_timeout(),
            command_timeout_seconds: 0,
            application_intent: ApplicationIntent::default(),
        }
    }

    /// Checks what can be checked without a server.
    ///
    /// # Errors
    ///
    /// `Config`, naming the field and the rule.
    pub fn validate(&self) -> Result<()> {
        let rule = |broken: bool, message: &'static str| {
            if broken {
                Err(Error::new(ErrorKind::Config, message))
            } else {
                Ok(())
            }
        };
        rule(self.host.trim().is_empty(), "`host` must not be empty")?;
        rule(
            self.host.contains(['\\', ',']),
            "`host` must be a name or an address; an instance name cannot be used, set `port`",
        )?;
        rule(self.port == 0, "`port` must not be 0")?;
        rule(self.database.is_empty(), "`database` must not be empty")?;
        rule(self.user.is_empty(), "`user` must not be empty")?;
        rule(
            self.password.is_empty(),
            "`password` must not be empty; write ${NAME} to take it from the environment",
        )?;
        rule(
            self.application_name.chars().count() > APPLICATION_NAME_MAX,
            "`application_name` must have at most 128 characters",
        )?;
        rule(
            self.connect_timeout_seconds == 0,
            "`connect_timeout_seconds` must be at least 1",
        )?;
        rule(
            !(512..=32_767).contains(&self.packet_size),
            "`packet_size` must be between 512 and 32767 bytes",
        )?;
        rule(
            i32::try_from(u64::from(self.lock_timeout_seconds) * 1000).is_err(),
            "`lock_timeout_seconds` must be at most 2147483",
        )?;
        rule(
            self.encrypt == Encrypt::Strict && self.trust_server_certificate,
            "`trust_server_certificate` has no effect with `encrypt: strict`; remove one of them",
        )?;
        rule(
            self.trust_server_certificate && self.server_certificate.is_some(),
            "`trust_server_certificate` accepts any certificate, so `server_certificate` would not be looked at; remove one of them",
        )?;
        rule(
            self.server_certificate.is_some() && self.host_name_in_certificate.is_some(),
            "`server_certificate` is compared byte for byte, so `host_name_in_certificate` would not be looked at; remove one of them",
        )
    }

    /// These options with a program name that no other pool's sessions have: the configured one and a random word.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the name must differ from every other process's, and no outcome depends on it"
    )]
    pub fn for_one_pool(mut self) -> Self {
        let word = uuid::Uuid::new_v4().simple().to_string();
        let room = APPLICATION_NAME_MAX - word.len() - 1;
        let name: String = self.application_name.chars().take(room).collect();
        self.application_name = format!("{name} {word}");
        self
    }

    /// `host:port/database`, for messages.
    pub(crate) fn target(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ConnectOptions {
        ConnectOptions::new("db", 1433, "shop", "sync", Secret::new("hunter2"))
    }

    #[test]
    fn a_secret_is_never_shown() {
        let shown = format!("{:?} {}", options(), serde_json::to_string(&options()).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn each_pool_has_a_name_of_its_own_that_fits() {
        for name in ["sync-cli".to_owned(), "é".repeat(128)] {
            let pool = || {
                let mut options = options();
                options.application_name.clone_from(&name);
                options.for_one_pool()
            };
            let (one, other) = (pool(), pool());
            assert_ne!(one.application_name, other.application_name);
            let shown: String = name.chars().take(95).collect();
            assert!(one.application_name.starts_with(&shown) && one.validate().is_ok());
        }
    }

    #[test]
    fn unknown_keys_are_refused_and_defaults_are_safe() {
        let json = r#"{"host":"h","database":"d","user":"u","password":"p"}"#;
        let read: ConnectOptions = serde_json::from_str(json).unwrap();
        assert_eq!(
            (read.port, read.encrypt, read.trust_server_certificate),
            (1433, Encrypt::Required, false)
        );
        assert!(serde_json::from_str::<ConnectOptions>(&json.replace("host", "hosst")).is_err());
    }

    #[test]
    fn each_rule_names_its_field() {
        type Change = fn(&mut ConnectOptions);
        let cases: [(&str, Change); 12] = [
            ("`host`", |o| o.host = " ".into()),
            ("`host`", |o| o.host = "server\\instance".into()),
            ("`port`", |o| o.port = 0),
            ("`database`", |o| o.database.clear()),
            ("`user`", |o| o.user.clear()),
            ("`password`", |o| o.password = Secret::default()),
            ("`connect_timeout_seconds`", |o| o.connect_timeout_seconds = 0),
            ("`packet_size`", |o| o.packet_size = 100),
            ("`lock_timeout_seconds`", |o| o.lock_timeout_seconds = u32::MAX),
            ("`trust_server_certificate`", |o| {
                o.encrypt = Encrypt::Strict;
                o.trust_server_certificate = true;
            }),
            ("`trust_server_certificate`", |o| {
                o.server_certificate = Some("server.pem".into());
                o.trust_server_certificate = true;
            }),
            ("`server_certificate`", |o| {
                o.server_certificate = Some("server.pem".into());
                o.host_name_in_certificate = Some("db".into());
            }),
        ];
        assert!(options().validate().is_ok());
        for (field, change) in cases {
            let mut changed = options();
            change(&mut changed);
            let error = changed.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().starts_with(field), "{error}");
        }
    }
}
