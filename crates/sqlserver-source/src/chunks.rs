//! The chunks of a copy: key ranges whose bounds the server finds by its own order.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::{StreamExt, once, try_unfold};
use model::{Bound, Chunk, Result, Selection, TableSchema};
use sqlserver_client::{Connection, Param, SqlType, bound_from_values, values_from_bound};

use crate::keyset::Keyset;
use crate::plan::TablePlan;
use crate::pool::Pool;

/// Chunks as they are found.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Chunk>> + Send>>;

/// Splits the rows above `after` into chunks of `rows` rows. Each bound is asked for when its chunk is, so that a table that
/// grows meanwhile is followed to its end.
pub(crate) fn chunks(
    pool: Arc<Pool>,
    plan: Arc<TablePlan>,
    schema: &TableSchema,
    after: Option<Bound>,
    rows: usize,
) -> Result<Chunks> {
    if !schema.has_key() {
        let whole = Chunk {
            selection: Selection::All,
            through: None,
        };
        return Ok(once(async { Ok(whole) }).boxed());
    }
    let pages = Pages {
        keyset: Keyset::new(&plan.table, schema)?,
        pool,
        plan,
        rows: rows.max(1),
    };
    let chunks = try_unfold((pages, after), |(pages, lower)| async move {
        let Some(upper) = pages.end(lower.as_ref()).await? else {
            return Ok(None);
        };
        let chunk = Chunk {
            selection: Selection::Range {
                lower,
                upper: upper.clone(),
            },
            through: Some(upper.clone()),
        };
        Ok(Some((chunk, (pages, Some(upper)))))
    });
    Ok(chunks.boxed())
}

/// Where a page ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    /// At its last row of many.
    Whole,
    /// At the table's last row: there are fewer.
    Last,
}

struct Pages {
    pool: Arc<Pool>,
    plan: Arc<TablePlan>,
    keyset: Keyset,
    rows: usize,
}

impl Pages {
    /// The key of the last row of the page above `lower`; `None` if there is no row.
    async fn end(&self, lower: Option<&Bound>) -> Result<Option<Bound>> {
        let mut connection = self.pool.take().await?;
        let mut end = self.end_of(&mut connection, Page::Whole, lower).await?;
        if end.is_none() {
            end = self.end_of(&mut connection, Page::Last, lower).await?;
        }
        self.pool.put(connection);
        Ok(end)
    }

    async fn end_of(
        &self,
        connection: &mut Connection,
        page: Page,
        lower: Option<&Bound>,
    ) -> Result<Option<Bound>> {
        let mut params = match lower {
            Some(lower) => self
                .keyset
                .params(0, values_from_bound(lower, self.keyset.columns())?),
            None => Vec::new(),
        };
        let (name, rows) = match page {
            Page::Whole => ("before", self.rows.saturating_sub(1)),
            Page::Last => ("rows", self.rows),
        };
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        params.push(Param::typed(name, rows, SqlType::BigInt));
        let above: Vec<_> = lower.map(|_| self.keyset.above(0)).into_iter().collect();
        let sql = self.plan.at_one_moment(&self.sql(&above, page));
        let found = connection.query(&sql, &params).await?;
        found
            .first()
            .map(|row| bound_from_values(row.values()))
            .transpose()
    }

    /// What selects the last key of a page.
    fn sql(&self, above: &[String], page: Page) -> String {
        let key = self.keyset.list();
        let rows = format!(
            "{key} FROM {}{} ORDER BY {key}",
            self.plan.from(),
            self.plan.filtered(above)
        );
        // Around it, because its order is that of the columns, and not of what they are converted to.
        let list = self.keyset.select_list();
        match page {
            Page::Whole => {
                format!(
                    "SELECT {list} FROM (SELECT {rows} OFFSET @before ROWS FETCH NEXT 1 ROWS ONLY) AS page"
                )
            }
            // As many at most, because more may have come by now.
            Page::Last => format!(
                "SELECT TOP (1) {list} FROM (SELECT TOP (@rows) {rows}) AS page ORDER BY {}",
                self.keyset.order("page", "DESC")
            ),
        }
    }
}
