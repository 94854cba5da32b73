//! `sp_emulator_fault`: the faults of the library, ordered in SQL.

use std::time::Duration;

use super::capture::Arguments;
use super::procedures::Given;
use super::run::Run;
use crate::error::{SqlError, SqlResult};
use crate::faults::{CommitFault, Fault};

impl Run<'_> {
    /// `EXEC sp_emulator_fault @fault, @database, @skip, @milliseconds`; the README lists the faults.
    pub(super) fn order_fault(&mut self, given: &[Given]) -> SqlResult<()> {
        let arguments = Arguments(given);
        let fault = arguments.text("@fault", 0).unwrap_or_default().to_lowercase();
        let own = || self.session.database_name(self.session.database);
        let database = arguments.text("@database", 1).unwrap_or_else(own);
        let skip = arguments.number("@skip", 2).unwrap_or_default();
        let milliseconds = arguments.number("@milliseconds", 3).unwrap_or_default();
        let engine = &self.session.engine;
        let ordered = match fault.as_str() {
            "lose connection before commit" => Fault::LoseConnection(CommitFault::Before),
            "lose connection during commit" => Fault::LoseConnection(CommitFault::During),
            "lose connection after commit" => Fault::LoseConnection(CommitFault::After),
            "deadlock" => Fault::Deadlock,
            "busy" => Fault::Busy,
            "not enough resources" => Fault::NotEnoughResources,
            "full log" => Fault::FullLog,
            "damaged packet" => Fault::DamagedPacket,
            "latency" => {
                let latency = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
                engine.faults().set_latency(latency);
                return Ok(());
            }
            "clock step" => {
                engine.clock().step_ms(milliseconds);
                return Ok(());
            }
            "capture stopped" => {
                engine.stop_capture(&database);
                return Ok(());
            }
            "agent stopped" | "agent started" => {
                engine.set_agent(fault == "agent started");
                return Ok(());
            }
            "log truncated" => {
                engine.truncate_captured(&database);
                return Ok(());
            }
            other => return Err(SqlError::unsupported(format_args!("the fault '{other}'"))),
        };
        let skip = u32::try_from(skip).unwrap_or_default();
        engine.faults().order(ordered, &database, skip);
        Ok(())
    }
}
