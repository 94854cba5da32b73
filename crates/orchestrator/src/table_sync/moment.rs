//! A table that is brought to the same moment of its source as others.

use model::{BatchId, Committed, Error, ErrorKind, Mark, Moment, Result};

use super::{Attempt, Session, TableRun, Way, overtaken};

/// A table that has been copied, and what its target said then.
pub(crate) struct Ready {
    session: Session,
    mark: Option<Mark>,
    batch: Option<BatchId>,
}

impl Ready {
    fn new(session: Session, newest: &Committed) -> Self {
        Self {
            session,
            mark: newest.mark.clone(),
            batch: newest.batch.clone(),
        }
    }

    /// Whether nobody has committed since. What another process brings it has perhaps read after the moment.
    fn is_as_it_was(&self, newest: &Committed) -> bool {
        (&self.mark, &self.batch) == (&newest.mark, &newest.batch)
    }
}

impl TableRun<'_> {
    /// Gets everything ready, and copies the table if it has not been copied. What its target holds after this was read from the source before
    /// any moment that begins after this.
    pub(crate) async fn get_ready(&mut self) -> Result<Ready> {
        self.moment = None;
        let (mut session, mut newest) = self.open().await?;
        let backoff = self.backoff();
        let mut copied = false;
        loop {
            if matches!(self.way(&session, &newest)?, Way::Increment { .. }) {
                return Ok(Ready::new(session, &newest));
            }
            if copied {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "a table that is not followed by increments cannot be brought to the same moment as others",
                )
                .with("table", &self.sync.source_table));
            }
            match self.attempt(&mut session, &newest).await {
                Ok(Attempt::Done) => copied = true,
                Ok(Attempt::Overtaken) => backoff.pause(overtaken()).await?,
                Err(error) => backoff.pause(error).await?,
            }
            newest = self.committed().await?;
            self.not_fenced(session.epoch, &newest)?;
        }
    }

    /// Brings the table to a moment that began after it was got ready.
    pub(crate) async fn bring_to(&mut self, ready: &mut Ready, moment: &Moment) -> Result<()> {
        self.moment = Some(moment.name.clone());
        self.held = Some(moment.source.clone());
        let ended = self.increment_at_moment(ready).await;
        self.held = None;
        ended
    }

    async fn increment_at_moment(&mut self, ready: &mut Ready) -> Result<()> {
        let newest = self.committed().await?;
        self.not_fenced(ready.session.epoch, &newest)?;
        let way = self.way(&ready.session, &newest)?;
        let (Way::Increment { from }, true) = (way, ready.is_as_it_was(&newest)) else {
            return Err(overtaken());
        };
        match self.increment(&mut ready.session, newest, from).await? {
            Attempt::Done => {}
            Attempt::Overtaken => return Err(overtaken()),
        }
        (ready.mark, ready.batch) = (self.tally.mark.clone(), self.tally.batch.clone());
        Ok(())
    }

    /// Says in a commit of its own that the table is as of the moment that it was brought to, if nothing else has said so.
    pub(crate) async fn name_moment(&mut self, ready: &mut Ready) -> Result<()> {
        if self.moment.is_none() || self.moment == self.tally.moment {
            return Ok(());
        }
        let Some(position) = self.tally.position.clone() else {
            return Err(
                Error::internal("a table was brought to no position").with("table", &self.sync.source_table)
            );
        };
        let mut newest = self.committed().await?;
        self.not_fenced(ready.session.epoch, &newest)?;
        let mark = Mark::At(position.clone());
        let named = ready.is_as_it_was(&newest)
            && self
                .advance(&mut ready.session, &mut newest, mark, Vec::new())
                .await?;
        if !named {
            return Err(overtaken());
        }
        self.tally.reached(&newest, position);
        (ready.mark, ready.batch) = (self.tally.mark.clone(), self.tally.batch.clone());
        Ok(())
    }

    /// Remembers how far the table came.
    pub(crate) async fn close_ready(&mut self, ready: &Ready) {
        self.close(&ready.session).await;
    }
}
