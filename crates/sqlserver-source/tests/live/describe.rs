//! What is told of a table.

use model::{ChangeSource, Description, ErrorKind, Severity, Tracking};

use crate::shop::{Shop, table};

async fn describe(setup: &str, user: &str, options: &str) -> Description {
    let shop = Shop::open(setup).await;
    shop.source_as(user, options).describe(&table()).await.unwrap()
}

fn says(description: &Description, severity: Severity, words: &str) -> bool {
    let found = |finding: &&model::Finding| finding.severity == severity && finding.message.contains(words);
    description.findings.iter().any(|finding| found(&finding))
}

const PLAIN: &str = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, v nvarchar(20), \
    updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME())";

#[tokio::test(flavor = "multi_thread")]
async fn tracking_is_told_with_its_reason() {
    for (setup, options, how) in [
        (PLAIN, "{}", Some("timestamp(updated_at)")),
        (PLAIN, r#"{"mode":"full"}"#, None),
        (
            PLAIN,
            r#"{"tracking":{"column":"id","kind":"id"}}"#,
            Some("id(id)"),
        ),
        (
            "CREATE TABLE dbo.T (id int IDENTITY PRIMARY KEY, v nvarchar(20))",
            "{}",
            Some("id(id)"),
        ),
        (
            "CREATE TABLE dbo.T (id int PRIMARY KEY, v nvarchar(20))",
            "{}",
            None,
        ),
        ("CREATE TABLE dbo.T (id int, updated_at datetime)", "{}", None),
        (
            "CREATE TABLE dbo.T (id int NOT NULL, updated_at datetime)",
            r#"{"key":["id"]}"#,
            Some("timestamp(updated_at)"),
        ),
    ] {
        let description = describe(setup, "sa", options).await;
        match (description.tracking, how) {
            (
                Tracking::Incremental {
                    how: got,
                    sees_deletes,
                    ..
                },
                Some(how),
            ) => {
                assert_eq!((got.as_str(), sees_deletes), (how, false), "{setup} {options}");
            }
            (Tracking::Full { reason }, None) => assert!(!reason.is_empty()),
            (tracking, _) => panic!("{setup} {options}: {tracking:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_told_with_a_remedy() {
    let hidden = describe(PLAIN, "reader", "{}").await;
    assert!(
        says(&hidden, Severity::Warning, "assumed"),
        "{:?}",
        hidden.findings
    );
    let remedies: Vec<_> = hidden
        .findings
        .iter()
        .filter_map(|finding| finding.remedy.clone())
        .collect();
    assert!(
        remedies
            .iter()
            .any(|remedy| remedy.contains("GRANT VIEW SERVER STATE")),
        "{remedies:?}"
    );

    let seen = describe(PLAIN, "sa", "{}").await;
    assert!(!says(&seen, Severity::Warning, "assumed"), "{:?}", seen.findings);
    assert!(says(&seen, Severity::Note, "neither deleted rows"));

    let keyless = describe("CREATE TABLE dbo.T (id int NULL)", "sa", "{}").await;
    assert!(says(&keyless, Severity::Warning, "no key"));
    let declared = describe("CREATE TABLE dbo.T (id int NULL)", "sa", r#"{"mode":"full"}"#).await;
    assert!(!says(&declared, Severity::Warning, "no key"));
    assert!(says(&declared, Severity::Note, "replaced whole by each run"));
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_columns_are_refused_to_whoever_would_read_them_masked() {
    let masked = "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, \
        v nvarchar(20) MASKED WITH (FUNCTION = 'default()') NULL)";
    let unmasked = format!("{masked}; GRANT UNMASK TO reader");
    for (setup, user, options, refused) in [
        (masked, "reader", "{}", true),
        (masked, "reader", r#"{"columns":{"exclude":["v"]}}"#, false),
        (masked, "sa", "{}", false),
        (&unmasked, "reader", "{}", false),
    ] {
        let description = describe(setup, user, options).await;
        let said = says(&description, Severity::Error, "values of v would be read masked");
        assert_eq!(
            said, refused,
            "{setup} {user} {options}: {:?}",
            description.findings
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_is_refused_by_name() {
    let bad_filter = describe(PLAIN, "sa", r#"{"where":"nothing = 1"}"#).await;
    assert!(
        says(&bad_filter, Severity::Error, "`capture.where`"),
        "{:?}",
        bad_filter.findings
    );
    let refused = bad_filter
        .findings
        .iter()
        .find(|finding| finding.severity == Severity::Error);
    assert_eq!(
        refused.and_then(|finding| finding.remedy.as_deref()),
        Some("correct `capture.where`")
    );

    let shop = Shop::open(PLAIN).await;
    for (options, kind, word) in [
        (r#"{"columns":{"exclude":["w"]}}"#, ErrorKind::Config, "\"w\""),
        (r#"{"columns":{"include":["w"]}}"#, ErrorKind::Config, "\"w\""),
        (r#"{"tracking":{"column":"w"}}"#, ErrorKind::Config, "\"w\""),
        (r#"{"tracking":{"column":"v"}}"#, ErrorKind::Config, "\"v\""),
    ] {
        let error = shop.source(options).describe(&table()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    shop.sql("DROP TABLE dbo.T");
    let error = shop.source("{}").describe(&table()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_times_would_tell_needs_them_to_be_read() {
    let excluded = r#""columns":{"exclude":["updated_at"]}"#;
    for (window, severity, word) in [
        (r#"{"late":"fail"}"#, Severity::Error, "late: fail"),
        (r#"{"late":"dead_letter"}"#, Severity::Error, "dead_letter"),
        (r#"{"nulls":"dead_letter"}"#, Severity::Error, "dead_letter"),
        (
            r#"{"tolerance_max_seconds":60}"#,
            Severity::Warning,
            "tolerance_max_seconds",
        ),
    ] {
        for (columns, told) in [(format!("{excluded},"), true), (String::new(), false)] {
            let found = describe(PLAIN, "sa", &format!(r#"{{{columns}"window":{window}}}"#)).await;
            let says = says(&found, severity, word);
            assert_eq!(says, told, "{window} {:?}", found.findings);
        }
    }
    let taken = "CREATE TABLE dbo.T (id int PRIMARY KEY, dead_letter_reason int, updated_at datetime2(3))";
    for (options, told) in [(r#"{"window":{"nulls":"dead_letter"}}"#, true), ("{}", false)] {
        let found = describe(taken, "sa", options).await;
        let says = says(&found, Severity::Error, "dead_letter_reason");
        assert_eq!(says, told, "{options} {:?}", found.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tracking_columns_of_different_clocks_are_refused() {
    let setup = "CREATE TABLE dbo.T (id int PRIMARY KEY, updated_at datetime2(3) DEFAULT SYSDATETIME(), \
        priced_at datetime2(3) DEFAULT SYSUTCDATETIME(), packed_at datetime2(3))";
    let shop = Shop::open(setup).await;
    let tracked = |rest: &str| format!(r#"{{"tracking":{{"column":"updated_at",{rest}}}}}"#);
    for (rest, words) in [
        (r#""also":["priced_at"]"#, "different clocks"),
        (r#""also":["packed_at","priced_at"]"#, "different clocks"),
    ] {
        let error = shop.source(&tracked(rest)).describe(&table()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(words), "{error}");
    }
    for (rest, words) in [
        (r#""also":["packed_at"]"#, "nothing says whether"),
        (
            r#""also":["priced_at"],"clock":"local""#,
            "priced_at is taken to hold local time",
        ),
        (
            r#""also":["priced_at"],"clock":"utc""#,
            "updated_at is taken to hold UTC",
        ),
    ] {
        let found = shop.source(&tracked(rest)).describe(&table()).await.unwrap();
        assert!(says(&found, Severity::Warning, words), "{:?}", found.findings);
    }
}
