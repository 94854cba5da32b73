//! An in-memory SQL Server that speaks TDS, for tests, demos and benchmarks.

mod ast;
mod clock;
mod collation;
mod engine;
mod error;
mod eval;
mod outcome;
mod session;
mod sync;
mod types;
mod value;

pub use clock::{Clock, Instant};
pub use collation::{CodePage, Collation};
pub use engine::{Engine, EngineConfig, Login};
pub use error::{SqlError, SqlResult};
pub use outcome::{Command, Done, EnvChange, Flow, Output, ResultColumn, ReturnValue};
pub use session::{BulkTarget, Isolation, LoginInfo, Param, Session};
pub use types::{Length, SqlType, TypeInfo};
pub use value::{Decimal, Value};
