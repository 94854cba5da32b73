//! `@@` values and the functions about the session itself; what they do not know, the catalog does.

use super::state::SessionState;
use crate::catalog::catalog_function;
use crate::error::{SqlError, SqlResult};
use crate::eval::{EnvironmentFunction as Function, Global};
use crate::store::TxId;
use crate::value::{Decimal, Value};

/// `@@VERSION`.
const VERSION: &str =
    "Microsoft SQL Server 2022 (RTM) - 16.0.1000.6 (X64) \n\tEmulator\n\tDeveloper Edition (64-bit) on Linux";

impl SessionState {
    /// The value of `@@x`.
    pub(crate) fn global(&self, global: Global) -> SqlResult<Value> {
        Ok(match global {
            Global::DateFirst => Value::TinyInt(self.options.date_first),
            Global::Dbts => {
                let last = self.engine.store().lock().last_rowversion(self.database);
                Value::bytes(&last.to_be_bytes())
            }
            Global::Error => Value::Int(self.last_error),
            Global::FetchStatus => Value::Int(-1),
            Global::Identity => number(self.last_identity),
            Global::LangId => Value::SmallInt(0),
            Global::Language => Value::text(&self.options.language),
            Global::LockTimeout => Value::Int(self.options.lock_timeout),
            Global::MaxConnections => Value::Int(32_767),
            Global::MaxPrecision => Value::TinyInt(38),
            Global::MicrosoftVersion => Value::Int(0x1000_03E8),
            Global::NestLevel => Value::Int(self.nest_level as i32),
            Global::Options => Value::Int(self.options.bits()),
            Global::RowCount => Value::Int(i32::try_from(self.row_count).unwrap_or(i32::MAX)),
            Global::ServerName => Value::text(&self.engine.config().server_name),
            Global::ServiceName => Value::text("MSSQLSERVER"),
            Global::Spid => Value::SmallInt(self.id as i16),
            Global::TextSize => Value::Int(self.options.text_size),
            Global::TranCount => Value::Int(self.nesting as i32),
            Global::Version => Value::text(VERSION),
            Global::RemServer => Value::Null,
            Global::Connections | Global::CpuBusy | Global::PackReceived | Global::ProcId => Value::Int(0),
        })
    }

    /// A function about the session or the catalog.
    pub(crate) fn environment(&self, function: Function, arguments: &[Value], tx: TxId) -> SqlResult<Value> {
        let text = |at: usize| arguments.get(at).and_then(Value::as_text);
        Ok(match function {
            Function::AppName => Value::text(&self.info.program_name),
            Function::HostName => Value::text(&self.info.host_name),
            Function::HostId => Value::text(&format!("{:<10}", self.info.process_id)),
            Function::ContextInfo if self.context_info.is_empty() => Value::Null,
            Function::ContextInfo => Value::bytes(&self.context_info),
            Function::CurrentRequestId => Value::SmallInt(0),
            Function::CurrentTransactionId => Value::BigInt(tx as i64),
            Function::MinActiveRowversion => {
                let least = self.engine.store().lock().min_active_rowversion(self.database);
                Value::bytes(&least.to_be_bytes())
            }
            Function::RowCountBig => Value::BigInt(self.row_count),
            Function::ScopeIdentity => number(self.scope_identity),
            Function::XactState => Value::SmallInt(match (self.transaction, self.doomed) {
                (None, _) => 0,
                (Some(_), false) => 1,
                (Some(_), true) => -1,
            }),
            Function::SessionContext => {
                let key = text(0).unwrap_or_default().to_lowercase();
                self.session_context.get(&key).cloned().unwrap_or_default()
            }
            Function::SessionProperty => {
                let name = text(0).unwrap_or_default().trim_end().to_uppercase();
                self.options
                    .property(&name)
                    .map_or(Value::Null, |on| Value::Int(i32::from(on)))
            }
            Function::TriggerNestLevel => Value::Int(self.running_triggers.len() as i32),
            other => {
                let answer =
                    self.with_viewer(self.database, |viewer| catalog_function(viewer, other, arguments))?;
                answer.ok_or_else(|| SqlError::unsupported(format_args!("the function {}", other.name())))?
            }
        })
    }
}

fn number(value: Option<i64>) -> Value {
    value.map_or(Value::Null, |value| {
        Value::Decimal(Decimal {
            unscaled: i128::from(value),
            precision: 38,
            scale: 0,
        })
    })
}
