//! Looks at tables of which some never answer.

use std::sync::Arc;

use async_trait::async_trait;
use iceberg_reader::IcebergSource;
use iceberg_table::{Catalog, CatalogCommit, MetadataChange, NewTable, TableHandle};
use model::{ChangeSource, Cut, Look, Position, Result, TableName};
use test_support::sample_schema;

use crate::lake::Lake;

/// Has every table in one place, except those named `slow`, which it never loads.
#[derive(Debug)]
struct Slow(Arc<dyn Catalog>);

#[async_trait]
impl Catalog for Slow {
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>> {
        if table.name() == "slow" {
            std::future::pending::<()>().await;
        }
        self.0.load(table).await
    }

    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>> {
        self.0.create(table, new).await
    }

    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit> {
        self.0.commit(base, change).await
    }

    async fn persist(&self, files: &[String]) -> Result<()> {
        self.0.persist(files).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.0.list().await
    }

    async fn check_writable(&self) -> Result<()> {
        self.0.check_writable().await
    }
}

/// Asks about so many tables that hang, and one that does not after them.
async fn look(lake: &Lake, hanging: usize, position: &Position) -> Vec<Look> {
    let source = IcebergSource::new(Arc::new(Slow(lake.catalog())));
    let mut tables = vec![(TableName::new("dbo", "slow"), position.clone()); hanging];
    tables.push((lake.table(), position.clone()));
    source.may_have_changed(&tables).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_table_that_hangs_spoils_no_other_ones_look() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let Cut::Complete { upto, .. } = lake.source().cut(&lake.table(), None).await.unwrap() else {
        panic!("an empty table has no gap");
    };
    for hanging in [1, 10] {
        let looks = look(&lake, hanging, &upto).await;
        let (last, others) = looks.split_last().unwrap();
        assert_eq!(*last, Look::Quiet);
        assert_eq!(others.len(), hanging);
        assert!(
            others.iter().all(|look| matches!(look, Look::Failed { .. })),
            "{others:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_in_time_is_told() {
    let lake = Lake::new(sample_schema(true), 1).await;
    let Cut::Complete { upto, .. } = lake.source().cut(&lake.table(), None).await.unwrap() else {
        panic!("an empty table has no gap");
    };
    let looks = look(&lake, 100, &upto).await;
    assert_eq!(looks.len(), 101);
    assert!(matches!(looks[0], Look::Failed { .. }), "{:?}", looks[0]);
    assert_eq!(looks[100], Look::Perhaps);
}
