//! The emulator as a program: listens until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use sqlserver_emulator::{Emulator, EmulatorConfig, Encryption, Login};

/// Rows and keys are many small pieces of memory: glibc's allocator took a third of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
An in-memory SQL Server for tests, demos and benchmarks.

Usage: sqlserver-emulator [OPTIONS]

  --listen ADDRESS   where to listen (127.0.0.1:1433; port 0 takes a free one)
  --database NAME    create a database; may be repeated
  --user NAME        the administrator's login (sa)
  --password TEXT    its password (Emulator!2022)
  --host-name NAME   a name or address that the certificate is good for; may be repeated (localhost, 127.0.0.1)
  --ca-file PATH     write the certificate authority's PEM there
  --certificate-file PATH  write the server's own certificate there, for clients that pin it
  --tls              turn away clients that do not encrypt
  --no-tls           offer no encryption at all
  --rows-per-second NUMBER  let rows leave no faster, all sessions together (0: no limit)
  --seed NUMBER      decides the order of rows in results without ORDER BY (0)

When it is ready it prints one line of JSON with the address, the port and the login.";

struct Options {
    config: EmulatorConfig,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    rows_per_second: u32,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut config = EmulatorConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 1433)),
        ..EmulatorConfig::default()
    };
    let mut ca_file = None;
    let mut certificate_file = None;
    let mut rows_per_second = 0;
    let mut host_names = Vec::new();
    let mut user = "sa".to_owned();
    let mut password = "Emulator!2022".to_owned();
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
        match option.as_str() {
            "--listen" => {
                let text = value()?;
                config.listen = text
                    .parse()
                    .map_err(|_| format!("'{text}' is no address such as 127.0.0.1:1433"))?;
            }
            "--database" => config.engine.databases.push(value()?),
            "--user" => user = value()?,
            "--password" => password = value()?,
            "--host-name" => host_names.push(value()?),
            "--ca-file" => ca_file = Some(PathBuf::from(value()?)),
            "--certificate-file" => certificate_file = Some(PathBuf::from(value()?)),
            "--tls" => config.encryption = Encryption::Required,
            "--no-tls" => config.encryption = Encryption::NotSupported,
            "--rows-per-second" => {
                let text = value()?;
                rows_per_second = text.parse().map_err(|_| format!("'{text}' is no number"))?;
            }
            "--seed" => {
                let text = value()?;
                config.engine.seed = text.parse().map_err(|_| format!("'{text}' is no number"))?;
            }
            other => return Err(format!("unknown option '{other}'\n\n{USAGE}")),
        }
    }
    config.engine.logins = vec![Login::sysadmin(user, password)];
    if !host_names.is_empty() {
        config.host_names = host_names;
    }
    Ok(Options {
        config,
        ca_file,
        certificate_file,
        rows_per_second,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("sqlserver-emulator: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let Options {
        config,
        ca_file,
        certificate_file,
        rows_per_second,
    } = parse(std::env::args().skip(1))?;
    let listen = config.listen;
    let emulator = Emulator::start(config)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    emulator.faults().set_row_rate(rows_per_second);
    let files = [
        (ca_file, emulator.ca_pem()),
        (certificate_file, emulator.certificate_pem()),
    ];
    for (path, pem) in files.into_iter().filter_map(|(path, pem)| Some((path?, pem))) {
        std::fs::write(&path, pem).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let (address, user) = (emulator.address(), emulator.user());
    println!(
        "{{\"address\":\"{address}\",\"port\":{},\"user\":{user:?}}}",
        address.port()
    );
    std::io::stdout()
        .flush()
        .map_err(|error| format!("cannot print: {error}"))?;
    stopped()
        .await
        .map_err(|error| format!("cannot wait for signals: {error}"))
}

#[cfg(unix)]
async fn stopped() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt,
    }
}

#[cfg(not(unix))]
async fn stopped() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
