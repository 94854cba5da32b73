//! The server as a whole: it listens, serves and stops.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::clock::Clock;
use crate::engine::{Engine, EngineConfig};
use crate::error::SqlError;
use crate::faults::Faults;
use crate::outcome::{Done, EnvChange, Flow, Output, ResultColumn, ReturnValue};
use crate::session::{LoginInfo, Session};
use crate::tds::{Recorder, Server, TlsIdentity, serve};
use crate::value::Value;

/// What the server answers when PRELOGIN speaks of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// There is no TLS.
    NotSupported,
    /// TLS for clients that ask for it; for the others it covers the login, if they can.
    Optional,
    /// TLS for everything; clients without it are turned away.
    Required,
}

/// How an emulator is set up.
#[derive(Clone, Debug)]
pub struct EmulatorConfig {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Logins, databases and seed.
    pub engine: EngineConfig,
    /// Whether connections are encrypted.
    pub encryption: Encryption,
    /// The DNS names and IP addresses that the server's certificate is good for.
    pub host_names: Vec<String>,
    /// A directory that gets a file for each session, `PROGRAM.PORT-SESSION.tds`: the packets that came after its login, as they came.
    pub record: Option<PathBuf>,
}

impl Default for EmulatorConfig {
    /// A free port of the loopback interface; sessions are recorded where the environment's `SQLSERVER_EMULATOR_RECORD` says.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            engine: EngineConfig::default(),
            encryption: Encryption::Optional,
            host_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            record: std::env::var_os("SQLSERVER_EMULATOR_RECORD").map(PathBuf::from),
        }
    }
}

/// A running server. Dropping it closes all connections.
///
/// It has a runtime of its own, so it keeps answering while the caller's runtime is blocked.
pub struct Emulator {
    address: SocketAddr,
    server: Arc<Server>,
    runtime: Option<Runtime>,
}

impl Emulator {
    /// Starts a server on a free port of the loopback interface, with login `sa`.
    ///
    /// # Errors
    /// If no port can be bound or no certificate made.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is awaited yet.
    pub async fn start_default() -> io::Result<Self> {
        Self::start(EmulatorConfig::default()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// If the address cannot be bound or no certificate made.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is awaited yet.
    pub async fn start(config: EmulatorConfig) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sqlserver-emulator")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let engine = Engine::new(config.engine);
        let server = Arc::new(Server {
            faults: Arc::clone(engine.faults()),
            engine,
            encryption: config.encryption,
            tls: TlsIdentity::generate(&config.host_names)?,
            recorder: config
                .record
                .map(|directory| Recorder::new(directory, address.port())),
        });
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, Arc::clone(&server)));
        Ok(Self {
            address,
            server,
            runtime: Some(runtime),
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first configured login's name.
    pub fn user(&self) -> &str {
        self.engine()
            .config()
            .logins
            .first()
            .map_or("", |login| &login.name)
    }

    /// The first configured login's password.
    pub fn password(&self) -> &str {
        self.engine()
            .config()
            .logins
            .first()
            .map_or("", |login| &login.password)
    }

    /// The certificate of the authority that signed the server's, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.server.tls.ca_pem
    }

    /// The server's own certificate as PEM, for clients that pin it.
    pub fn certificate_pem(&self) -> &str {
        &self.server.tls.certificate_pem
    }

    /// The clock behind every time function.
    pub fn clock(&self) -> &Clock {
        self.engine().clock()
    }

    /// The engine, which all connections share.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.server.engine
    }

    /// Faults that can be ordered.
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// Runs a batch in a session of its own, without the wire, and returns all its result sets. Blocks.
    ///
    /// # Errors
    /// The first error that the batch raised.
    pub fn execute(&self, database: &str, sql: &str) -> Result<Vec<ResultSet>, SqlError> {
        let login = LoginInfo {
            user: self.user().to_owned(),
            password: self.password().to_owned(),
            database: Some(database.to_owned()),
            program_name: "Emulator::execute".to_owned(),
            ..LoginInfo::default()
        };
        let mut session = Session::new(self.engine(), login)?;
        let mut collected = Collected::default();
        session.batch(sql, &mut collected);
        collected.error.map_or(Ok(collected.results), Err)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.faults.kill_all();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(serve(socket, Arc::clone(&server)));
            }
            Err(error) => tracing::warn!(%error, "could not accept a connection"),
        }
    }
}

/// One result of [`Emulator::execute`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// Its columns; none for a statement without rows.
    pub columns: Vec<ResultColumn>,
    /// Its rows.
    pub rows: Vec<Vec<Value>>,
    /// Rows returned or affected, if the statement counts.
    pub count: Option<u64>,
}

#[derive(Default)]
struct Collected {
    results: Vec<ResultSet>,
    open: Option<ResultSet>,
    error: Option<SqlError>,
}

impl Output for Collected {
    fn columns(&mut self, columns: &[ResultColumn]) -> Flow {
        self.open = Some(ResultSet {
            columns: columns.to_vec(),
            ..ResultSet::default()
        });
        Flow::Continue
    }

    fn row(&mut self, row: &[Value]) -> Flow {
        if let Some(open) = &mut self.open {
            open.rows.push(row.to_vec());
        }
        Flow::Continue
    }

    fn done(&mut self, done: Done) {
        let mut result = self.open.take().unwrap_or_default();
        result.count = done.rows;
        if !result.columns.is_empty() || done.rows.is_some() {
            self.results.push(result);
        }
    }

    fn message(&mut self, message: &SqlError) {
        if !message.is_info() && self.error.is_none() {
            self.error = Some(message.clone());
        }
    }

    fn env(&mut self, _: EnvChange) {}

    fn return_value(&mut self, _: ReturnValue) {}

    fn return_status(&mut self, _: i32) {}
}
