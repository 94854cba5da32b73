//! Execution: statements bound to the store as it is, and run.
//!
//! Every statement is bound anew each time it runs. Binding resolves names, places conditions and chooses indexes;
//! running pushes rows from sources through joins, groups and sorts to the client.

mod access;
mod administration;
mod aggregate;
mod alter;
mod autocommit;
mod backup;
mod bind_group;
mod bind_join;
mod bind_query;
mod bind_select;
mod bulk;
mod capture;
mod capture_jobs;
mod captured;
mod change;
mod change_table;
mod change_tracking;
mod ddl;
mod define;
mod draft;
mod faults;
mod first_result;
mod insert;
mod joins;
mod keys;
mod merge;
mod messages;
mod named;
mod output;
mod plan;
mod procedures;
mod query;
mod rename;
mod result;
mod rows;
mod run;
mod scope;
mod sent_join;
mod settings;
mod statement;
mod table_types;
mod transactions;
mod triggers;
mod variables;
mod walk;
mod window;
mod writer;

pub(crate) use bulk::BulkColumn;
pub(crate) use plan::ReadPlan;
pub(crate) use run::Run;
pub(crate) use statement::Failure;
