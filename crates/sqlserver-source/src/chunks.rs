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

/// Splits the rows above `after` into chunks of `rows` rows. The table's last key is asked for first, so that the copy of a table
/// that grows meanwhile has an end; what comes behind it is newer than the cut. Each other bound is asked for when its chunk is.
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
        last: None,
    };
    let chunks = try_unfold((pages, after), |(mut pages, lower)| async move {
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

struct Pages {
    pool: Arc<Pool>,
    plan: Arc<TablePlan>,
    keyset: Keyset,
    rows: usize,
    /// The table's last key, once it has been asked for.
    last: Option<Bound>,
}

impl Pages {
    /// The key of the last row of the page above `lower`; `None` if there is no row.
    async fn end(&mut self, lower: Option<&Bound>) -> Result<Option<Bound>> {
        if self.last.is_some() && self.last.as_ref() == lower {
            return Ok(None);
        }
        let mut connection = self.pool.take().await?;
        if self.last.is_none() {
            self.last = self.last_above(&mut connection, lower).await?;
        }
        let end = match &self.last {
            None => None,
            Some(last) => {
                let end = self.end_of_page(&mut connection, lower, last).await?;
                Some(end.unwrap_or_else(|| last.clone()))
            }
        };
        self.pool.put(connection);
        Ok(end)
    }

    /// The last key of the table; `None` if nothing is above `lower`.
    async fn last_above(&self, connection: &mut Connection, lower: Option<&Bound>) -> Result<Option<Bound>> {
        let (above, params) = self.above(lower)?;
        let rows = format!(
            "(SELECT TOP (1) {} FROM {} AS t{} ORDER BY {}) AS page",
            self.keyset.list(),
            self.plan.from(),
            self.plan.filtered(&above),
            self.keyset.order("t", "DESC"),
        );
        self.key(connection, &rows, &params).await
    }

    /// The last key of a whole page above `lower`; `None` if fewer rows are left up to `last`.
    async fn end_of_page(
        &self,
        connection: &mut Connection,
        lower: Option<&Bound>,
        last: &Bound,
    ) -> Result<Option<Bound>> {
        let (mut conditions, mut params) = self.above(lower)?;
        conditions.push(self.keyset.up_to(params.len()));
        let last = values_from_bound(last, self.keyset.columns())?;
        params.extend(self.keyset.params(params.len(), last));
        let before = i64::try_from(self.rows.saturating_sub(1)).unwrap_or(i64::MAX);
        params.push(Param::typed("before", before, SqlType::BigInt));
        let key = self.keyset.list();
        let rows = format!(
            "(SELECT {key} FROM {}{} ORDER BY {key} OFFSET @before ROWS FETCH NEXT 1 ROWS ONLY) AS page",
            self.plan.from(),
            self.plan.filtered(&conditions)
        );
        self.key(connection, &rows, &params).await
    }

    /// The condition for what is above `lower`, and its parameters.
    fn above(&self, lower: Option<&Bound>) -> Result<(Vec<String>, Vec<Param>)> {
        let Some(lower) = lower else {
            return Ok(Default::default());
        };
        let values = values_from_bound(lower, self.keyset.columns())?;
        Ok((vec![self.keyset.above(0)], self.keyset.params(0, values)))
    }

    /// The key that `rows`, a row source of T-SQL, has, if it has one. It is taken from around it, because its order is that of the
    /// columns, and not of what they are converted to.
    async fn key(&self, connection: &mut Connection, rows: &str, params: &[Param]) -> Result<Option<Bound>> {
        let select = format!("SELECT {} FROM {rows}", self.keyset.select_list());
        let found = connection
            .query(&self.plan.at_one_moment(&select), params)
            .await?;
        found
            .first()
            .map(|row| bound_from_values(row.values()))
            .transpose()
    }
}
