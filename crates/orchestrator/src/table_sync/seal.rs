//! A table that is as of a moment, and says so although nothing of it had changed.

use model::{Error, Mark, Result};

use super::{Session, TableRun, overtaken};

impl TableRun<'_> {
    /// Says in a commit of its own that the table is as of the moment that it was brought to.
    pub(crate) async fn seal(&mut self, session: &mut Session) -> Result<()> {
        let Some(position) = self.tally.position.clone() else {
            return Err(
                Error::internal("a table was brought to no position").with("table", &self.sync.source_table)
            );
        };
        let mut newest = self.committed().await?;
        self.not_fenced(session.epoch, &newest)?;
        // On another mark than that which the changes were read from, nobody knows whether they are all there.
        if newest.mark != self.tally.mark
            || !self
                .advance(session, &mut newest, Mark::At(position.clone()), Vec::new())
                .await?
        {
            return Err(overtaken());
        }
        self.tally.reached(&newest, position);
        Ok(())
    }
}
