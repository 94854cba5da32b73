//! Against a service that answers as a test tells it. What a real one does is asked in `tests/catalogs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use iceberg::TableUpdate;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use object_store::CredentialProvider;
use serde_json::{Value, json};
use test_support::{SeededIds, SimClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::storage::StorageOptions;

/// A request: method and path, its head, its body.
struct Asked {
    what: String,
    head: String,
    body: String,
}

type Answers = dyn Fn(&Asked) -> (u16, String) + Send + Sync;

/// Answers each request on a connection of its own; the service's URL.
async fn serve(answers: Arc<Answers>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let asked = loop {
                if client.read_buf(&mut bytes).await.unwrap() == 0 {
                    break None;
                }
                if let Some(asked) = parsed(&bytes) {
                    break Some(asked);
                }
            };
            let Some(asked) = asked else { continue };
            let (status, body) = answers(&asked);
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn parsed(bytes: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, head) = head.split_once("\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    (body.len() >= length).then(|| Asked {
        what: first.trim_end_matches(" HTTP/1.1").to_owned(),
        head,
        body: body.to_owned(),
    })
}

fn name() -> TableName {
    TableName::new("dbo", "t")
}

/// The answer to loading a table, with these entries beside its metadata.
fn loaded(extra: Value) -> String {
    let fields = [NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into()];
    let new = NewTable::new(Schema::builder().with_fields(fields).build().unwrap());
    let metadata = metadata::create(&name(), new, "s3://b/t".into(), &SeededIds::new(1)).unwrap();
    let mut answer = json!({ "metadata-location": "s3://b/t/metadata/1.json", "metadata": metadata });
    answer
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    answer.to_string()
}

fn catalog(options: RestOptions, clock: Arc<SimClock>) -> RestCatalog {
    RestCatalog::new(&options, Storage::new(&StorageOptions::default()), clock).unwrap()
}

fn at(uri: &str) -> RestOptions {
    RestOptions {
        uri: uri.to_owned(),
        vended_credentials: true,
        ..RestOptions::default()
    }
}

#[tokio::test]
async fn a_commit_ends_as_the_service_answers() {
    for (status, body, expected) in [
        (409, "{}", "Conflict"),
        (500, "{}", "Unknown"),
        (502, "", "Unknown"),
        (503, "", "Unknown"),
        (504, "", "Unknown"),
        (200, "not JSON", "Unknown"),
        (400, "{}", "Config"),
        (401, "{}", "Denied"),
        (403, "{}", "Denied"),
        (404, "{}", "NotFound"),
        (429, "{}", "Transient"),
        (501, "{}", "Unsupported"),
    ] {
        let answers = move |asked: &Asked| match asked.what.split_once(' ').unwrap() {
            ("GET", "/v1/config") => (200, "{}".to_owned()),
            ("GET", _) => (200, loaded(json!({}))),
            _ => (status, body.to_owned()),
        };
        let catalog = catalog(at(&serve(Arc::new(answers)).await), Arc::default());
        let base = catalog.load(&name()).await.unwrap().unwrap();
        let change = MetadataChange {
            updates: vec![TableUpdate::SetLocation { location: "x".into() }],
            ..MetadataChange::default()
        };
        let ended = match catalog.commit(&base, change).await {
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => format!("{:?}", error.kind()),
        };
        assert!(ended.starts_with(expected), "{status}: {ended}");
    }
}

/// A wrong URL, or a proxy, must not make a table look as if it were not there.
#[tokio::test]
async fn only_the_service_says_that_a_table_is_missing() {
    for (body, missing) in [
        (
            r#"{"error":{"message":"","type":"NoSuchTableException","code":404}}"#,
            true,
        ),
        (
            r#"{"error":{"message":"","type":"NoSuchNamespaceException","code":404}}"#,
            true,
        ),
        ("<html>404</html>", false),
        (
            r#"{"error":{"message":"no such path","type":"NotFoundException","code":404}}"#,
            false,
        ),
    ] {
        let answers = move |asked: &Asked| match asked.what.as_str() {
            "GET /v1/config?warehouse=w" => (
                200,
                r#"{"defaults":{"prefix":"d"},"overrides":{"prefix":"a/b"}}"#.to_owned(),
            ),
            "GET /v1/a/b/namespaces/dbo/tables/t" => (404, body.to_owned()),
            other => panic!("{other}"),
        };
        let options = RestOptions {
            warehouse: Some("w".into()),
            ..at(&serve(Arc::new(answers)).await)
        };
        let found = catalog(options, Arc::default()).load(&name()).await;
        match missing {
            true => assert!(found.unwrap().is_none(), "{body}"),
            false => assert_eq!(found.unwrap_err().kind(), ErrorKind::NotFound, "{body}"),
        }
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_when_it_is_refused() {
    let tokens = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(Mutex::new("bearer none".to_owned()));
    let (given, bad) = (tokens.clone(), refused.clone());
    let answers = move |asked: &Asked| {
        if asked.what == "POST /v1/oauth/tokens" {
            let form = "grant_type=client_credentials&client_id=me&client_secret=hunter2&scope=catalog";
            assert_eq!(asked.body, form);
            let token = format!("t{}", given.fetch_add(1, Ordering::SeqCst));
            return (
                200,
                json!({ "access_token": token, "expires_in": 3600 }).to_string(),
            );
        }
        let token = asked
            .head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        match token.expect("every request has a token") {
            token if token == *bad.lock().unwrap() => (401, "{}".to_owned()),
            _ => (200, r#"{"namespaces":[]}"#.to_owned()),
        }
    };
    let clock = Arc::<SimClock>::default();
    let options = RestOptions {
        oauth2: Some(OAuth2Options {
            client_id: "me".into(),
            client_secret: model::Secret::new("hunter2"),
            server_uri: None,
            scope: "catalog".into(),
        }),
        ..at(&serve(Arc::new(answers)).await)
    };
    let catalog = catalog(options, clock.clone());
    let mut seen = Vec::new();
    for minutes in [0, 58, 2] {
        clock.advance(minutes * 60_000);
        catalog.check_writable().await.unwrap();
        seen.push(tokens.load(Ordering::SeqCst));
    }
    assert_eq!(seen, [1, 1, 2], "one token lasts until a minute before its end");
    *refused.lock().unwrap() = "bearer t1".to_owned();
    catalog.check_writable().await.unwrap();
    assert_eq!(tokens.load(Ordering::SeqCst), 3, "a refused token is replaced");
    *refused.lock().unwrap() = "bearer t2".to_owned();
    catalog.check_writable().await.unwrap();
    assert!(!format!("{catalog:?}").contains("hunter2"));
}

#[tokio::test]
async fn credentials_for_files_are_those_of_the_longest_prefix_and_are_renewed() {
    const HOUR_MS: i64 = 3_600_000;
    let clock = Arc::<SimClock>::default();
    let loads = Arc::new(AtomicUsize::new(0));
    let (count, time) = (loads.clone(), clock.clone());
    let answers = move |asked: &Asked| {
        if asked.what.ends_with("/config") {
            return (200, "{}".to_owned());
        }
        assert!(
            asked
                .head
                .contains("x-iceberg-access-delegation: vended-credentials")
        );
        let number = count.fetch_add(1, Ordering::SeqCst);
        let config = |who: &str| {
            json!({
                "s3.access-key-id": format!("{who}{number}"),
                "s3.secret-access-key": "hunter2",
                "s3.session-token-expires-at-ms": (time.now().0 + HOUR_MS).to_string(),
            })
        };
        let answer = json!({
            "config": { "s3.endpoint": "http://127.0.0.1:1", "client.region": "r" },
            "storage-credentials": [
                { "prefix": "s3://b/t", "config": config("table") },
                { "prefix": "s3://b/t/data", "config": config("data") },
            ],
        });
        (200, loaded(answer))
    };
    let catalog = catalog(at(&serve(Arc::new(answers)).await), clock.clone());
    let table = name();
    catalog.load(&table).await.unwrap().unwrap();
    let grants = catalog.grants.of(&table).await;
    let ids = async || {
        let mut ids = Vec::new();
        for grant in &grants {
            ids.push(grant.get_credential().await.unwrap().key_id.clone());
        }
        ids
    };
    assert_eq!(ids().await, ["table0", "data0"]);
    clock.advance(HOUR_MS - 300_000);
    assert_eq!(
        ids().await,
        ["table0", "data0"],
        "five minutes before they expire"
    );
    clock.advance(1);
    assert_eq!(ids().await, ["table1", "data2"], "each renews itself");
    catalog.load(&table).await.unwrap().unwrap();
    assert_eq!(ids().await, ["table3", "data3"], "a load brings new ones");
    assert_eq!(
        catalog.grants.of(&table).await.len(),
        2,
        "and they are still the same grants"
    );
}
