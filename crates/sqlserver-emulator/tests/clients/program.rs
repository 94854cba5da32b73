//! The program: its one line when it is ready, and what it says of bad options.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sqlserver-emulator");

#[test]
fn the_program_says_where_it_listens() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let mut child = Command::new(PROGRAM)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--database",
            "Sales",
            "--user",
            "admin",
            "--ca-file",
        ])
        .arg(&ca)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line
        .split("\"port\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let port: u16 = port.unwrap().parse().unwrap();
    let connected = std::net::TcpStream::connect(("127.0.0.1", port));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(connected.is_ok());
    assert!(line.contains(r#""user":"admin""#), "{line}");
    assert!(std::fs::read_to_string(ca).unwrap().contains("BEGIN CERTIFICATE"));
}

#[test]
fn bad_options_are_named() {
    for (arguments, message) in [
        (&["--listen", "nowhere"][..], "'nowhere' is no address"),
        (&["--listen"], "--listen needs a value"),
        (&["--frobnicate"], "unknown option '--frobnicate'"),
        (&["--seed", "x"], "'x' is no number"),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(message),
            "{arguments:?}: {error}"
        );
    }
}
