//! Against a bucket that answers as a test tells it.

use model::{ErrorKind, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::storage::{S3Options, StorageOptions};

/// A bucket that answers each write with the next status, and whoever looks for an object with one status, and with its writer.
async fn bucket(writes: Vec<u16>, (look, writer): (u16, &'static str)) -> ObjectVersions {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut writes = writes.into_iter();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                assert_ne!(client.read_buf(&mut asked).await.unwrap(), 0);
            }
            let status = match asked.starts_with(b"HEAD") {
                true => look,
                false => writes.next().unwrap(),
            };
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\nETag: \"1\"\r\n\
                 Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nx-amz-meta-syncwriter: {writer}\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let s3 = S3Options {
        endpoint: Some(endpoint),
        region: Some("us-east-1".into()),
        access_key_id: Some("key".into()),
        secret_access_key: Some(Secret::new("secret")),
        path_style: Some(true),
        ..S3Options::default()
    };
    ObjectVersions::new(
        Storage::new(&StorageOptions {
            s3,
            ..StorageOptions::default()
        }),
        "s3://bucket/dbo/T/metadata".into(),
    )
}

/// The client repeats a write that was answered by 500, and tells only the last answer.
#[tokio::test]
async fn what_became_of_a_version_is_looked_up_whatever_was_answered() {
    let created = |creation: &Result<Creation>| matches!(creation, Ok(Creation::Created));
    let taken = |creation: &Result<Creation>| matches!(creation, Ok(Creation::Taken));
    let uncertain = |creation: &Result<Creation>| matches!(creation, Ok(Creation::Uncertain(_)));
    let denied =
        |creation: &Result<Creation>| matches!(creation, Err(error) if error.kind() == ErrorKind::Denied);
    type Expected<'a> = &'a dyn Fn(&Result<Creation>) -> bool;
    let cases: [(&[u16], (u16, &'static str), Expected<'_>); 7] = [
        (&[500, 403], (200, "us"), &created),
        (&[500, 401], (200, "us"), &created),
        (&[500, 403], (200, "them"), &taken),
        (&[500, 403], (403, ""), &uncertain),
        (&[403], (404, ""), &denied),
        (&[500, 412], (200, "us"), &created),
        (&[412], (200, "them"), &taken),
    ];
    for (writes, look, expected) in cases {
        let versions = bucket(writes.to_vec(), look).await;
        let creation = versions.create(1, b"{}".to_vec(), "us").await;
        assert!(expected(&creation), "{writes:?}, {look:?}: {creation:?}");
    }
}
