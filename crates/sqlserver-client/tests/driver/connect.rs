//! Logins, TLS and the errors of both.

use model::ErrorKind;
use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret};

use crate::{options, start};

type Change = fn(&mut ConnectOptions);

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_says_what_to_look_at() {
    let emulator = start().await;
    let cases: [(&str, Change, ErrorKind, &str); 5] = [
        (
            "wrong password",
            |o| o.password = Secret::new("wrong"),
            ErrorKind::Denied,
            "`password`",
        ),
        (
            "unknown login",
            |o| o.user = "nobody".into(),
            ErrorKind::Denied,
            "`user`",
        ),
        (
            "unknown database",
            |o| o.database = "nowhere".into(),
            ErrorKind::NotFound,
            "`database`",
        ),
        ("nobody listens", |o| o.port = 1, ErrorKind::Unavailable, "`port`"),
        (
            "untrusted certificate",
            |o| {
                o.encrypt = Encrypt::Required;
                o.trust_server_certificate = false;
            },
            ErrorKind::Config,
            "`server_certificate`",
        ),
    ];
    for (what, change, kind, word) in cases {
        let mut changed = options(&emulator);
        changed.connect_timeout_seconds = 5;
        change(&mut changed);
        let error = Connection::open(&changed).await.unwrap_err();
        assert_eq!(
            error.kind(),
            kind,
            "{what}: {error} {:?}",
            std::error::Error::source(&error)
        );
        assert!(error.advice().contains(word), "{what}: {}", error.advice());
        assert!(!format!("{error:?}").contains(emulator.password()), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works_with_the_servers_certificate_and_with_trust() {
    let emulator = start().await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("server.pem");
    std::fs::write(&certificate, emulator.certificate_pem()).unwrap();
    let cases: [(&str, Encrypt, bool, bool); 4] = [
        ("strict", Encrypt::Strict, false, true),
        ("pinned", Encrypt::Required, false, true),
        ("trusted", Encrypt::Required, true, false),
        ("login only", Encrypt::Optional, true, false),
    ];
    for (what, encrypt, trust, pinned) in cases {
        let options = ConnectOptions {
            encrypt,
            trust_server_certificate: trust,
            server_certificate: pinned.then(|| certificate.clone()),
            ..options(&emulator)
        };
        let mut connection = Connection::open(&options).await.unwrap_or_else(|error| {
            panic!("{what}: {error} {:?}", std::error::Error::source(&error));
        });
        let rows = connection.query("SELECT DB_NAME() AS name", &[]).await.unwrap();
        assert_eq!(rows.one().unwrap().need_text("name").unwrap(), "shop", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_certificate_file_is_a_matter_of_configuration() {
    let emulator = start().await;
    let options = ConnectOptions {
        encrypt: Encrypt::Required,
        trust_server_certificate: false,
        server_certificate: Some("/nonexistent/ca.pem".into()),
        ..options(&emulator)
    };
    let error = Connection::open(&options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}
