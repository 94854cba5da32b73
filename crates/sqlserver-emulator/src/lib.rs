//! An in-memory SQL Server that speaks TDS, for tests, demos and benchmarks.

mod ast;
mod background;
mod catalog;
mod clock;
mod code_page;
mod collation;
mod emulator;
mod engine;
mod error;
mod eval;
mod exec;
mod faults;
mod lexer;
mod outcome;
mod parser;
mod random;
mod session;
mod shuffle;
mod store;
mod sync;
mod tds;
mod types;
mod value;

pub use clock::{Clock, Instant};
pub use collation::{CodePage, Collation};
pub use emulator::{Emulator, EmulatorConfig, Encryption, ResultSet};
pub use engine::{Engine, EngineConfig, Login};
pub use error::{SqlError, SqlResult};
pub use faults::{CommitFault, Fault, Faults};
pub use outcome::{Command, Discard, Done, EnvChange, Flow, Output, ResultColumn, ReturnValue};
pub use session::{BulkTarget, Isolation, LoginInfo, Param, Session, TableValue};
pub use store::Packed;
pub use types::{Length, SqlType, TypeInfo};
pub use value::{Decimal, Value};

/// The README's example is tested with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
