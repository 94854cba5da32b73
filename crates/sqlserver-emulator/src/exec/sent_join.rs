//! A join that goes to the client: columns of its right side as the table keeps them, everything else as values between them.

use std::sync::Arc;

use super::joins::{Pairs, concat, padded};
use super::plan::{JoinPlan, Lookup, Node, QueryPlan, ScanPlan, Source};
use super::run::Run;
use super::statement::wanted;
use crate::error::SqlResult;
use crate::eval::BoundExpr;
use crate::outcome::Flow;
use crate::store::{Packed, Row, RowId};
use crate::value::Value;

/// A query that does nothing but hand the pairs of a join to the client.
pub(super) struct SentJoin<'p> {
    join: &'p JoinPlan,
    scan: &'p ScanPlan,
    lookup: &'p Lookup,
    items: &'p [BoundExpr],
    /// The right side's columns that are items, in its order.
    kept: Vec<usize>,
    /// The other items, by place.
    others: Vec<(usize, &'p BoundExpr)>,
    /// What these look at of the right side.
    looked_at: Vec<usize>,
    values: Vec<(usize, Value)>,
    sent: u64,
}

impl<'p> SentJoin<'p> {
    /// None for a query that does more, or is none of a join.
    pub(super) fn of(plan: &'p QueryPlan) -> Option<Self> {
        let Node::Select(select) = &plan.node else {
            return None;
        };
        let Source::Join(join) = &select.source else {
            return None;
        };
        let (scan, lookup) = join.driven_right()?;
        let plain = scan.filter.is_empty() && !scan.with_row_id && join.residual.is_empty();
        if !(select.is_bare() && plain && lookup.exact) {
            return None;
        }
        let of_right = |column: usize| column.checked_sub(join.left_width);
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for (place, item) in select.items.iter().enumerate() {
            match item.as_column().and_then(of_right) {
                Some(column) => kept.push(column),
                None => others.push((place, item)),
            }
        }
        let looked_at = select.looked_at.iter().flatten().copied().filter_map(of_right);
        (select.looked_at.is_some() && kept.is_sorted_by(|a, b| a < b)).then(|| Self {
            join,
            scan,
            lookup,
            items: &select.items,
            kept,
            others,
            looked_at: looked_at.collect(),
            values: Vec::new(),
            sent: 0,
        })
    }
}

impl Run<'_> {
    /// Sends the rows and tells their number; none if the join's left side is too large to be kept.
    pub(super) fn send_joined(&mut self, mut sent: SentJoin<'_>) -> SqlResult<Option<u64>> {
        self.rows.push(Arc::from([]));
        let flow = self.join_by_left(sent.join, sent.scan, sent.lookup, &mut sent);
        self.rows.pop();
        Ok(flow?.map(|_| sent.sent))
    }
}

impl Pairs for SentJoin<'_> {
    fn pair(
        &mut self,
        run: &mut Run<'_>,
        driver: &Row,
        (_, other): (RowId, &Packed),
    ) -> SqlResult<Option<Flow>> {
        run.set_row(concat(driver, &other.columns(&self.looked_at)));
        self.values.clear();
        for (place, item) in &self.others {
            self.values.push((*place, run.value(item)?));
        }
        self.sent += 1;
        wanted(run.out.stored_row(other, &self.kept, &self.values))?;
        wanted(run.out.hand_over())?;
        Ok(Some(Flow::Continue))
    }

    fn alone(&mut self, run: &mut Run<'_>, driver: &Row) -> SqlResult<Flow> {
        run.set_row(padded(driver, self.join.right_width, true));
        let mut row = Vec::with_capacity(self.items.len());
        for item in self.items {
            row.push(run.value(item)?);
        }
        self.sent += 1;
        wanted(run.out.row(&row))?;
        Ok(Flow::Continue)
    }
}
