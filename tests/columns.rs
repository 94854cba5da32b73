//! The source's columns change while it is synchronised, in every mode: nothing is NULL in Iceberg that is not NULL in the source, and what
//! the policy does not allow is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg_writer::{IcebergSink, SchemaPolicy, TableOptions};
use model::{ChangeSink, Prepare, RunReport, RunStatus, TableName};
use orchestrator::{Route, TableSync};
use test_support::{Fault, Faults, FaultySink};

use crate::world::{SHOP, World, capture_id};

/// Each mode of capture of `dbo.Orders`: its configuration, and the T-SQL that switches it on.
pub(crate) const MODES: [(&str, &str); 7] = [
    (
        r#"{"tracking":{"column":"updated_at"},"window":{"settle_seconds":0}}"#,
        "",
    ),
    (
        r#"{"tracking":{"column":"rv"},"window":{"settle_seconds":0}}"#,
        "",
    ),
    (
        r#"{"tracking":{"column":"id"},"window":{"settle_seconds":0}}"#,
        "",
    ),
    (
        r#"{"mode":"trigger","trigger":{"install":true},"window":{"settle_seconds":0}}"#,
        "",
    ),
    (
        r#"{"mode":"change_tracking"}"#,
        "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.Orders ENABLE CHANGE_TRACKING",
    ),
    (
        r#"{"mode":"cdc"}"#,
        "EXEC sys.sp_cdc_enable_db;
         EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'Orders', @role_name = NULL",
    ),
    (
        r#"{"mode":"polling","tracking":{"column":"updated_at","clock":"utc"},"window":{"settle_seconds":0},
            "query":"SELECT id, updated_at FROM dbo.Orders WHERE updated_at >= :last_sync AND updated_at < :this_sync"}"#,
        "",
    ),
];

fn table() -> TableName {
    TableName::new("dbo", "Orders")
}

/// A captured table of five orders whose columns Iceberg follows by this policy.
struct Shop {
    world: World,
    policy: SchemaPolicy,
    renames: BTreeMap<String, String>,
}

impl Shop {
    async fn open((capture, setup): (&str, &str), policy: SchemaPolicy) -> Self {
        let mut world = World::start().await;
        world.emulator.clock().freeze();
        world.capture = serde_json::from_str(capture).unwrap();
        world.sql(
            "CREATE TABLE dbo.Orders (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(40) NULL, price int NULL, note varchar(20) NULL,
                updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion)",
        );
        world.sql(setup);
        world.sql("INSERT INTO dbo.Orders (name, price, note) VALUES (N'a', 1, 'x'), (N'b', 2, 'y'), (N'c', 3, NULL), (N'd', 4, NULL), (N'e', 5, '5')");
        world.emulator.clock().step_ms(5_000);
        Self {
            world,
            policy,
            renames: BTreeMap::new(),
        }
    }

    /// From the source into Iceberg, and on into the target.
    async fn run(&self) -> RunReport {
        self.world.run(self.route(Faults::never())).await
    }

    /// The same by a process that is killed right after its first commit into Iceberg.
    async fn killed(&self, how: impl Fn(&mut TableSync)) {
        let faults = Faults::scripted([Some(Fault::Killed)]);
        let mut route = self.route(faults.clone());
        route.syncs.iter_mut().for_each(how);
        tokio::select! {
            report = self.world.run(route) => panic!("it was not killed: {report:#?}"),
            () = faults.killed() => {}
        }
    }

    /// `faults` are those of commits.
    fn route(&self, faults: Faults) -> Route {
        self.route_through(|sink| FaultySink::new(sink, faults).commits_only())
    }

    fn route_through(&self, faulty: impl FnOnce(IcebergSink) -> FaultySink<IcebergSink>) -> Route {
        let options = TableOptions {
            schema_changes: self.policy,
            renames: self.renames.clone(),
            ..TableOptions::default()
        };
        let source = self.world.source(&table(), self.world.capture.clone());
        let sink = self.world.iceberg_sink().with_tables([(table(), options)]);
        let target = Arc::new(self.world.target_sink());
        self.world.route(&table(), source, Arc::new(faulty(sink)), target)
    }

    async fn field_id(&self, column: &str) -> i32 {
        let handle = self.world.catalog.load(&table()).await.unwrap().unwrap();
        let schema = handle.metadata().current_schema().clone();
        schema.field_by_name(column).unwrap().id
    }

    async fn follows(&self, what: &str) {
        self.world.emulator.clock().step_ms(5_000);
        let report = self.run().await;
        assert_eq!(
            report.metadata.status,
            RunStatus::Succeeded,
            "{what}: {:#?}",
            report.errors
        );
        let report = self.world.verify(&table()).await;
        assert!(report.all_match(), "{what}: {report:#?}");
    }
}

#[tokio::test]
async fn every_mode_follows_columns_that_are_added_dropped_or_widened() {
    for mode in MODES {
        let shop = Shop::open(mode, SchemaPolicy::Evolve).await;
        shop.follows("the copy").await;
        for ddl in [
            "ALTER TABLE dbo.Orders ADD colour nvarchar(10) NULL",
            "ALTER TABLE dbo.Orders ADD stock int NOT NULL DEFAULT 7",
            "ALTER TABLE dbo.Orders ALTER COLUMN price bigint NULL",
            "ALTER TABLE dbo.Orders ALTER COLUMN note varchar(200) NULL",
            "ALTER TABLE dbo.Orders DROP COLUMN price",
            "ALTER TABLE dbo.Orders ADD price decimal(9, 2) NULL",
        ] {
            shop.world.sql(ddl);
            if ddl.contains("ADD price") {
                // The target keeps a column that is gone, and refuses values of another type for it.
                shop.world.mirror("ALTER TABLE dbo.Orders DROP COLUMN price");
            }
            if ddl.contains("colour") {
                // By somebody who leaves no trace in the column of times.
                shop.world
                    .sql("UPDATE dbo.Orders SET colour = N'red' WHERE id = 2");
            }
            shop.follows(&format!("{}: {ddl}", mode.0)).await;
        }
        shop.world
            .sql("INSERT INTO dbo.Orders (price, colour) VALUES (1.5, N'blue')");
        shop.follows(mode.0).await;
    }
}

/// Nobody says that it was renamed: the old column goes, and the new one comes with its values.
#[tokio::test]
async fn every_mode_follows_a_column_that_is_renamed() {
    for mode in MODES {
        let shop = Shop::open(mode, SchemaPolicy::Evolve).await;
        shop.follows("the copy").await;
        shop.world
            .sql("ALTER TABLE dbo.Orders ADD later nvarchar(10) NULL");
        shop.world
            .sql("UPDATE dbo.Orders SET later = N'red', updated_at = SYSUTCDATETIME() WHERE id = 2");
        shop.follows("a new column").await;
        shop.world
            .sql("EXEC sp_rename N'dbo.Orders.later', N'latest', N'COLUMN'");
        shop.follows(&format!("{}: renamed", mode.0)).await;
        let name = "EXEC sp_rename N'dbo.Orders.name', N'customer', N'COLUMN'";
        if mode.0.contains("cdc") {
            // What is captured cannot be renamed; whoever stops the capture to do it loses history.
            let refused = shop.world.emulator.execute(SHOP, name).unwrap_err();
            assert_eq!(refused.number, 4928);
            let all = "@source_schema = N'dbo', @source_name = N'Orders'";
            shop.world.sql(&format!(
                "EXEC sys.sp_cdc_disable_table {all}, @capture_instance = N'all'"
            ));
            shop.world.sql(name);
            shop.world
                .sql(&format!("EXEC sys.sp_cdc_enable_table {all}, @role_name = NULL"));
            shop.world.emulator.clock().step_ms(5_000);
            let report = shop.run().await;
            assert_eq!(report.metadata.status, RunStatus::Gap, "{:?}", report.errors);
            continue;
        }
        shop.world.sql(name);
        shop.world
            .sql("INSERT INTO dbo.Orders (customer) VALUES (N'new')");
        shop.follows(&format!("{}: renamed", mode.0)).await;
    }
}

/// The owner says so: it stays the same column, by its field id.
#[tokio::test]
async fn a_rename_that_the_owner_tells_keeps_the_column() {
    for mode in MODES {
        let mut shop = Shop::open(mode, SchemaPolicy::Exception).await;
        shop.world
            .sql("ALTER TABLE dbo.Orders ADD later nvarchar(10) NULL");
        shop.world
            .sql("UPDATE dbo.Orders SET later = N'red' WHERE id = 2");
        shop.follows("the copy").await;
        let before = shop.field_id("later").await;
        shop.world
            .sql("EXEC sp_rename N'dbo.Orders.later', N'latest', N'COLUMN'");
        shop.renames.insert("later".into(), "latest".into());
        shop.world.sql("INSERT INTO dbo.Orders (latest) VALUES (N'blue')");
        shop.follows(mode.0).await;
        assert_eq!(shop.field_id("latest").await, before, "{}", mode.0);
    }
}

#[tokio::test]
async fn what_the_policy_does_not_follow_is_refused() {
    for (policy, ddl, column) in [
        (SchemaPolicy::Exception, "ADD colour nvarchar(10) NULL", "colour"),
        (SchemaPolicy::Exception, "DROP COLUMN note", "note"),
        (SchemaPolicy::Exception, "ALTER COLUMN price bigint NULL", "price"),
        (SchemaPolicy::Exception, "RENAMED", "latest"),
        (
            SchemaPolicy::Evolve,
            "ALTER COLUMN price nvarchar(20) NULL",
            "price",
        ),
    ] {
        for mode in MODES {
            let shop = Shop::open(mode, policy).await;
            shop.world.sql("ALTER TABLE dbo.Orders ADD later int NULL");
            shop.follows("the copy").await;
            let snapshots = shop.world.snapshots(&table()).await;
            shop.world.sql(&match ddl {
                "RENAMED" => "EXEC sp_rename N'dbo.Orders.later', N'latest', N'COLUMN'".to_owned(),
                ddl => format!("ALTER TABLE dbo.Orders {ddl}"),
            });
            shop.world
                .sql("UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME() WHERE id = 1");
            shop.world.emulator.clock().step_ms(5_000);
            let report = shop.run().await;
            assert_eq!(report.metadata.status, RunStatus::Failed, "{ddl}");
            assert!(report.errors[0].message.contains(column), "{:?}", report.errors);
            assert_eq!(shop.world.snapshots(&table()).await, snapshots, "{ddl}");
        }
    }
}

#[tokio::test]
async fn every_mode_follows_a_column_that_is_dropped_and_added_again_or_altered_under_its_type() {
    for mode in MODES {
        let shop = Shop::open(mode, SchemaPolicy::Evolve).await;
        shop.world
            .sql("ALTER TABLE dbo.Orders ADD moment datetime2(6) NULL");
        shop.world
            .sql("UPDATE dbo.Orders SET moment = '2024-01-02 03:04:05.678901' WHERE id < 3");
        shop.follows("the copy").await;
        for ddl in [
            "ALTER TABLE dbo.Orders ALTER COLUMN moment datetime2(0) NULL",
            "ALTER TABLE dbo.Orders ALTER COLUMN note char(20) NULL",
            "ALTER TABLE dbo.Orders DROP COLUMN moment; ALTER TABLE dbo.Orders ADD moment datetime2(6) NULL",
        ] {
            for batch in ddl.split("; ") {
                shop.world.sql(batch);
            }
            shop.follows(&format!("{}: {ddl}", mode.0)).await;
        }
    }
}

impl Shop {
    /// Gives Iceberg the columns of the source but for one, as another engine may, and as a run that is killed before it commits.
    async fn prepare_iceberg(&self, without: Option<&str>) {
        let mut capture = self.world.capture.clone();
        capture.columns.exclude.extend(without.map(str::to_owned));
        let schema = self
            .world
            .source(&table(), capture)
            .describe(&table())
            .await
            .unwrap()
            .schema;
        let options = TableOptions {
            schema_changes: SchemaPolicy::Evolve,
            ..TableOptions::default()
        };
        let prepare = Prepare {
            sync: capture_id(&table()),
            table: table(),
            schema,
            create: false,
            replace: false,
            adopt: false,
            dry_run: false,
        };
        let sink = self.world.iceberg_sink().with_tables([(table(), options)]);
        sink.prepare(&prepare).await.unwrap();
    }

    async fn lacks(&self) -> Vec<String> {
        let sink = self.world.iceberg_sink();
        let newest = sink.committed(&capture_id(&table()), &table()).await.unwrap();
        newest.mark.unwrap().position().lacks.clone()
    }
}

#[tokio::test]
async fn a_column_that_iceberg_did_not_have_is_filled_once_it_does_in_every_mode() {
    for mode in MODES {
        let mut shop = Shop::open(mode, SchemaPolicy::Ignore).await;
        shop.follows("the copy").await;
        shop.world
            .sql("ALTER TABLE dbo.Orders ADD stock int NOT NULL DEFAULT 7");
        shop.world.emulator.clock().step_ms(5_000);
        let report = shop.run().await;
        assert_eq!(report.metadata.status, RunStatus::Succeeded, "{report:#?}");
        shop.policy = SchemaPolicy::Evolve;
        shop.follows(&format!("{}: it was ignored", mode.0)).await;
        for killed in [false, true] {
            shop.prepare_iceberg(Some("note")).await;
            if killed {
                shop.world.lose_state();
                shop.prepare_iceberg(None).await;
            }
            shop.follows(&format!("{}: it was dropped", mode.0)).await;
            assert!(shop.lacks().await.is_empty());
        }
        shop.world.mirror("ALTER TABLE dbo.Orders DROP COLUMN note");
        shop.follows(&format!("{}: the target's was dropped", mode.0))
            .await;
    }
}

/// It is there when preparing is tried again, and not as one that was there before.
#[tokio::test]
async fn a_column_is_filled_although_the_answer_to_its_addition_was_lost() {
    for mode in MODES {
        let shop = Shop::open(mode, SchemaPolicy::Evolve).await;
        shop.follows("the copy").await;
        shop.prepare_iceberg(Some("note")).await;
        shop.world.sql("UPDATE dbo.Orders SET price = 6 WHERE id = 3");
        shop.world.emulator.clock().step_ms(5_000);
        // The first call asks what is committed, the second prepares.
        let lost = Faults::scripted([None, Some(Fault::AnswerLost)]);
        let route = shop.route_through(|sink| FaultySink::new(sink, lost));
        let report = shop.world.run(route).await;
        assert_eq!(report.metadata.status, RunStatus::Succeeded, "{report:#?}");
        let report = shop.world.verify(&table()).await;
        assert!(report.all_match(), "{}: {report:#?}", mode.0);
    }
}

#[tokio::test]
async fn a_column_is_filled_whose_rows_were_committed_in_part_when_the_run_was_killed() {
    let mut shop = Shop::open(MODES[4], SchemaPolicy::Evolve).await;
    shop.world.capture.batch_size = 1;
    shop.follows("the copy").await;
    shop.prepare_iceberg(Some("note")).await;
    shop.killed(|sync| sync.flush.rows = 1).await;
    assert_eq!(shop.lacks().await, ["note"]);
    shop.follows("the rest").await;
    assert!(shop.lacks().await.is_empty());
}

#[tokio::test]
async fn a_column_that_iceberg_lost_during_the_first_copy_is_filled() {
    let shop = Shop::open(MODES[4], SchemaPolicy::Evolve).await;
    shop.killed(|sync| sync.batch_rows = 2).await;
    shop.prepare_iceberg(Some("note")).await;
    shop.killed(|sync| sync.batch_rows = 2).await;
    assert_eq!(shop.lacks().await, ["note"]);
    shop.follows("the rest").await;
    assert!(shop.lacks().await.is_empty());
}
