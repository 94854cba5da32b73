//! A mixed stream of changes: a fifth inserts, three fifths updates, a fifth deletes; each key once, in no order.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use futures::stream;
use sqlserver_client::{BulkColumn, Connection, SqlType};

use super::super::arena::SOURCE;
use crate::server::Server;

/// Of six keys one is kept for inserts.
const GROUP: u64 = 6;
/// A prime greater than any number of keys here, so that its multiples visit them all.
const STEP: u128 = 2_654_435_761;
/// Rows of a batch of the plan.
const BATCH: u64 = 65_536;

/// The stream of a number of changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) changes: u64,
    /// Changes in a transaction.
    pub(super) transaction: u64,
}

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Kind {
    Insert = 1,
    Update = 2,
    Delete = 3,
}

impl Mix {
    pub(super) fn of(changes: u64, transaction: u64) -> Self {
        Self {
            // Whole fives, so that the shares are exact.
            changes: changes.next_multiple_of(5),
            transaction: transaction.max(1),
        }
    }

    /// Keys of the table, those that are kept for inserts included.
    pub(super) fn rows(&self) -> u64 {
        (self.changes * 5 / 4).next_multiple_of(GROUP)
    }

    pub(super) fn inserts(&self) -> u64 {
        self.changes / 5
    }

    pub(super) fn updates(&self) -> u64 {
        self.changes / 5 * 3
    }

    pub(super) fn deletes(&self) -> u64 {
        self.changes / 5
    }

    /// Makes room for the inserts, and writes down what is to be done to which key.
    pub(super) fn prepare(&self, server: &Server) -> Result<()> {
        server.execute(
            SOURCE,
            &format!(
                "DELETE FROM dbo.orders WHERE OrderId % {GROUP} = {}\nGO\n\
                 CREATE TABLE dbo.plan_of_changes (kind int NOT NULL, seq bigint NOT NULL, id bigint NOT NULL, PRIMARY KEY (kind, seq))",
                GROUP - 1
            ),
        )?;
        let column = |name: &str, ty| BulkColumn {
            name: name.into(),
            ty,
        };
        let columns = [
            column("seq", SqlType::BigInt),
            column("id", SqlType::BigInt),
            column("kind", SqlType::Int),
        ];
        let starts = (0..self.changes).step_by(BATCH as usize);
        let batches: Vec<_> = starts.map(|from| self.batch(from)).collect::<Result<_>>()?;
        server.connected(SOURCE, async |connection| {
            let rows = stream::iter(batches.into_iter().map(Ok));
            connection
                .bulk_load("dbo.plan_of_changes", &columns, rows)
                .await?;
            Ok(())
        })
    }

    fn batch(&self, from: u64) -> Result<RecordBatch> {
        let numbers = from..self.changes.min(from + BATCH);
        let changes: Vec<(u64, Kind)> = numbers.clone().map(|seq| self.change(seq)).collect();
        let columns: [(&str, ArrayRef); 3] = [
            (
                "seq",
                Arc::new(Int64Array::from_iter_values(numbers.map(u64::cast_signed))),
            ),
            (
                "id",
                Arc::new(Int64Array::from_iter_values(
                    changes.iter().map(|(id, _)| id.cast_signed()),
                )),
            ),
            (
                "kind",
                Arc::new(Int32Array::from_iter_values(
                    changes.iter().map(|(_, kind)| *kind as i32),
                )),
            ),
        ];
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    /// The key of a change, and what is done to it.
    fn change(&self, seq: u64) -> (u64, Kind) {
        let (round, turn) = (seq / 5, seq % 5);
        let spread = |number: u64, of: u64| (u128::from(number) * STEP % u128::from(of)) as u64;
        let groups = self.rows() / GROUP;
        if turn == 0 {
            return (spread(round, groups) * GROUP + GROUP - 1, Kind::Insert);
        }
        let there = spread(round * 4 + turn - 1, groups * (GROUP - 1));
        let id = there / (GROUP - 1) * GROUP + there % (GROUP - 1);
        (id, if turn == 4 { Kind::Delete } else { Kind::Update })
    }

    /// How many transactions it takes.
    pub(super) fn transactions(&self) -> u64 {
        self.changes.div_ceil(self.transaction)
    }

    /// The changes up to and with those of a transaction.
    pub(super) fn upto(&self, transaction: u64) -> u64 {
        self.changes.min((transaction + 1) * self.transaction)
    }

    /// Commits one transaction.
    pub(super) async fn commit(&self, connection: &mut Connection, transaction: u64) -> Result<()> {
        let part = |kind: Kind| {
            format!(
                "dbo.plan_of_changes AS p WHERE p.kind = {} AND p.seq >= {} AND p.seq < {}",
                kind as i32,
                transaction * self.transaction,
                self.upto(transaction)
            )
        };
        let batch = format!(
            "SET XACT_ABORT ON; BEGIN TRANSACTION; \
             INSERT INTO dbo.orders (OrderId, CustomerId, OrderDate, Status, Amount, Quantity, City, Weight, Note, updated_at) \
             SELECT p.id, p.id % 100003, '2026-01-01', N'new', p.id % 1000, p.id % 97, N'Istanbul', p.id / 8.0, N'added', SYSUTCDATETIME() FROM {}; \
             UPDATE o SET Status = N'paid', Amount = o.Amount + 1, updated_at = SYSUTCDATETIME() \
             FROM dbo.orders AS o INNER JOIN (SELECT p.id FROM {}) AS c ON o.OrderId = c.id; \
             DELETE o FROM dbo.orders AS o INNER JOIN (SELECT p.id FROM {}) AS c ON o.OrderId = c.id; \
             COMMIT TRANSACTION;",
            part(Kind::Insert),
            part(Kind::Update),
            part(Kind::Delete)
        );
        connection.execute(&batch, &[]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_is_changed_once_and_the_shares_are_exact() {
        for changes in [5, 1_000, 99_998] {
            let mix = Mix::of(changes, 100);
            let all: Vec<_> = (0..mix.changes).map(|seq| mix.change(seq)).collect();
            let keys: BTreeSet<u64> = all.iter().map(|(id, _)| *id).collect();
            assert_eq!(keys.len() as u64, mix.changes);
            assert!(keys.iter().all(|id| *id < mix.rows()));
            let count = |kind| all.iter().filter(|(_, own)| *own == kind).count() as u64;
            assert_eq!(
                (count(Kind::Insert), count(Kind::Update), count(Kind::Delete)),
                (mix.inserts(), mix.updates(), mix.deletes())
            );
            assert!(
                all.iter()
                    .all(|(id, kind)| (id % GROUP == GROUP - 1) == (*kind == Kind::Insert))
            );
        }
    }
}
