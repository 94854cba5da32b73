//! Names of real tables, and the column that must be chosen.

use super::*;

fn column(name: &str, kind: ColumnKind) -> ColumnFacts {
    ColumnFacts {
        name: name.into(),
        kind,
        nullable: false,
        identity: false,
        sole_key: false,
        leads_index: true,
    }
}

fn dated(name: &str) -> ColumnFacts {
    let grain = Duration::from_millis(1);
    column(name, ColumnKind::DateTime { grain })
}

fn identity_key(name: &str) -> ColumnFacts {
    ColumnFacts {
        identity: true,
        sole_key: true,
        ..column(name, ColumnKind::Integer)
    }
}

fn check(columns: &[ColumnFacts], expect: Option<(&str, TrackingKind)>) {
    let found = detect_tracking(columns);
    let got = found.as_ref().map(|choice| (choice.column.as_str(), choice.kind));
    let names: Vec<_> = columns.iter().map(|c| &c.name).collect();
    assert_eq!(got, expect, "{names:?}");
}

#[test]
fn a_column_named_like_an_update_is_found_in_every_spelling() {
    for name in [
        "updated_at",
        "UPDATED_AT",
        "UpdatedAt",
        "updatedAt",
        "modified_at",
        "ModifiedAt",
        "last_modified",
        "LastModified",
        "update_time",
        "modify_time",
        "ModifiedDate",
        "LastUpdated",
        "LASTUPDATED",
        "Last Updated",
        "last_update",
        "LastModifiedDate",
        "DateModified",
        "date_updated",
        "ModifiedOn",
        "updated",
        "modified",
        "changed_at",
        "last_changed",
        "UpdateTimestamp",
        "updated_ts",
        "LastUpdateUtc",
        "UpdatedAtUTC",
        "row_updated",
        "price_updated_at",
        "CustomerModifiedDate",
    ] {
        check(
            &[dated("created_at"), dated(name)],
            Some((name, TrackingKind::Timestamp)),
        );
    }
}

#[test]
fn a_column_named_otherwise_is_not_taken() {
    for name in [
        "created_at",
        "OrderDate",
        "exchange_date",
        "next_update_at",
        "ScheduledChangeDate",
        "time",
        "last_login",
        "valid_from",
        "credited_at",
        "uptime",
        "date",
        "",
    ] {
        check(&[dated(name)], None);
    }
    let text = column("updated_at", ColumnKind::Other);
    check(&[text], None);
    check(&[column("updated_at", ColumnKind::Integer)], None);
}

#[test]
fn a_rowversion_comes_before_every_name() {
    let version = ColumnFacts {
        nullable: true,
        ..column("v", ColumnKind::RowVersion)
    };
    let columns = [identity_key("id"), dated("updated_at"), version];
    check(&columns, Some(("v", TrackingKind::RowVersion)));
    // The server never leaves it without a value.
    let findings = detect_tracking(&columns).unwrap().findings;
    assert!(
        findings.iter().all(|f| f.severity == Severity::Note),
        "{findings:?}"
    );
    let chosen = choose_tracking(&columns, "updated_at", None).unwrap();
    assert_eq!(chosen.kind, TrackingKind::Timestamp);
    assert!(choose_tracking(&columns, "id", Some(TrackingKind::RowVersion)).is_err());
}

#[test]
fn names_come_in_order() {
    for (columns, first) in [
        (["ModifiedDate", "updated_at"], "updated_at"),
        (["modify_time", "update_time"], "update_time"),
        (["last_modified", "modified_at"], "modified_at"),
        (["price_updated_at", "LastUpdated"], "LastUpdated"),
        (["update_time", "LastModified"], "LastModified"),
    ] {
        check(&columns.map(dated), Some((first, TrackingKind::Timestamp)));
    }
}

#[test]
fn among_equal_names_the_better_column_wins() {
    let nullable = ColumnFacts {
        nullable: true,
        ..dated("ModifiedDate")
    };
    let unindexed = ColumnFacts {
        leads_index: false,
        ..dated("ModifiedOn")
    };
    let good = dated("DateModified");
    check(
        &[nullable.clone(), unindexed.clone(), good],
        Some(("DateModified", TrackingKind::Timestamp)),
    );
    check(
        &[nullable, unindexed],
        Some(("ModifiedOn", TrackingKind::Timestamp)),
    );
}

#[test]
fn an_identity_key_is_the_last_resort() {
    check(
        &[identity_key("id"), dated("created_at")],
        Some(("id", TrackingKind::Id)),
    );
    check(
        &[identity_key("id"), dated("updated_at")],
        Some(("updated_at", TrackingKind::Timestamp)),
    );
    check(
        &[ColumnFacts {
            sole_key: false,
            ..identity_key("id")
        }],
        None,
    );
    check(
        &[ColumnFacts {
            identity: false,
            ..identity_key("id")
        }],
        None,
    );
}

#[test]
fn what_to_know_of_a_column_is_told() {
    let findings = |column: ColumnFacts| detect_tracking(&[column]).unwrap().findings;
    let minute = ColumnKind::DateTime {
        grain: Duration::from_secs(60),
    };
    for (column, say) in [
        (dated("updated_at"), vec!["neither deleted rows"]),
        (identity_key("id"), vec!["only new rows"]),
        (
            ColumnFacts {
                nullable: true,
                ..dated("updated_at")
            },
            vec!["neither deleted rows", "may be NULL"],
        ),
        (
            ColumnFacts {
                kind: minute,
                ..dated("updated_at")
            },
            vec!["neither deleted rows", "only to 60 s"],
        ),
        (
            ColumnFacts {
                leads_index: false,
                ..dated("updated_at")
            },
            vec!["neither deleted rows", "no index"],
        ),
    ] {
        let found = findings(column.clone());
        assert_eq!(found.len(), say.len(), "{column:?}: {found:?}");
        for (finding, say) in found.iter().zip(say) {
            assert!(finding.message.contains(say), "{}", finding.message);
        }
    }
}

#[test]
fn a_configured_column_must_exist_and_fit() {
    let columns = [
        dated("Touched"),
        column("n", ColumnKind::Integer),
        column("t", ColumnKind::Other),
    ];
    for (name, kind, expect) in [
        ("Touched", None, Some(TrackingKind::Timestamp)),
        (
            "touched",
            Some(TrackingKind::Timestamp),
            Some(TrackingKind::Timestamp),
        ),
        ("Touched", Some(TrackingKind::Id), None),
        ("n", None, Some(TrackingKind::Id)),
        ("n", Some(TrackingKind::Timestamp), None),
        ("t", None, None),
        ("missing", None, None),
    ] {
        let chosen = choose_tracking(&columns, name, kind);
        assert_eq!(chosen.as_ref().ok().map(|c| c.kind), expect, "{name} {kind:?}");
        if let Err(error) = chosen {
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }
}
