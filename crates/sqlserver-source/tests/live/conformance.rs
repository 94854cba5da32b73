//! The contract of a source, kept by every mode.

use std::sync::Arc;

use async_trait::async_trait;
use model::{ChangeSource, TableName};
use test_support::{SampleRow, SourceUnderTest, source_conformance};

use crate::shop::{Shop, table};

struct Sample {
    shop: Shop,
    source: Arc<dyn ChangeSource>,
}

impl Sample {
    async fn open(options: &str) -> Box<dyn SourceUnderTest> {
        let shop = Shop::open(
            "CREATE TABLE dbo.T (id int NOT NULL PRIMARY KEY, name nvarchar(100) NULL, amount bigint NULL, \
             updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(), rv rowversion);\
             ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON; ALTER TABLE dbo.T ENABLE CHANGE_TRACKING",
        )
        .await;
        shop.pass(0);
        shop.sql(
            "EXEC sys.sp_cdc_enable_db; \
             EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'T', @role_name = NULL",
        );
        let source = Arc::new(shop.source(options));
        Box::new(Self { shop, source })
    }
}

#[async_trait]
impl SourceUnderTest for Sample {
    fn source(&self) -> Arc<dyn ChangeSource> {
        self.source.clone()
    }

    fn table(&self) -> TableName {
        table()
    }

    async fn put(&self, rows: &[SampleRow]) {
        let mut batch = "BEGIN TRANSACTION;".to_owned();
        for row in rows {
            let name = row
                .name
                .as_ref()
                .map_or("NULL".to_owned(), |name| format!("N'{name}'"));
            let amount = row.amount.map_or("NULL".to_owned(), |amount| amount.to_string());
            batch += &format!(
                "DELETE FROM dbo.T WHERE id = {0}; INSERT INTO dbo.T (id, name, amount) VALUES ({0}, {name}, {amount});",
                row.id
            );
        }
        self.shop.sql(&(batch + "COMMIT;"));
    }

    async fn delete(&self, ids: &[i32]) {
        for id in ids {
            self.shop.sql(&format!("DELETE FROM dbo.T WHERE id = {id}"));
        }
    }

    async fn settle(&self) {
        self.shop.pass(30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_source_keeps_the_contract() {
    source_conformance(|| Sample::open(r#"{"tracking":{"column":"updated_at"}}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rowversion_source_keeps_the_contract() {
    source_conformance(|| Sample::open(r#"{"tracking":{"column":"rv"}}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_tracking_keeps_the_contract() {
    source_conformance(|| Sample::open(r#"{"mode":"change_tracking"}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_data_capture_keeps_the_contract() {
    source_conformance(|| Sample::open(r#"{"mode":"cdc"}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_keep_the_contract() {
    source_conformance(|| Sample::open(r#"{"mode":"trigger","trigger":{"install":true}}"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_source_keeps_the_contract() {
    let query = "SELECT id, updated_at FROM dbo.T WHERE updated_at >= :last_sync AND updated_at < :this_sync";
    let options = format!(r#"{{"mode":"polling","query":"{query}","tracking":{{"column":"updated_at"}}}}"#);
    source_conformance(|| Sample::open(&options)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_read_whole_keeps_the_contract() {
    source_conformance(|| Sample::open(r#"{"mode":"full"}"#)).await;
}
