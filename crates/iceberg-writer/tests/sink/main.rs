//! The Iceberg sink against real files: the conformance suite, random histories against a model, faults, and other engines.

mod conformance;
mod faults;
mod files;
mod history;
mod prepare;
mod readers;
mod warehouse;
