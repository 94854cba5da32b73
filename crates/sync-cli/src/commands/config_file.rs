//! `config schema` and `config example`.

use model::{Error, Result};

use super::Answer;
use crate::arguments::ConfigCommand;
use crate::config::Config;

/// A configuration to begin with; a test keeps it loadable.
pub(crate) const EXAMPLE: &str = include_str!("../../example.yaml");

/// Prints the schema or the example.
pub(crate) fn run(command: &ConfigCommand) -> Result<Answer> {
    match command {
        ConfigCommand::Example => Ok(Answer::text(EXAMPLE.to_owned())),
        ConfigCommand::Schema => {
            let schema = schemars::schema_for!(Config);
            let text = serde_json::to_string_pretty(&schema)
                .map_err(|error| Error::internal("the schema has no JSON").caused_by(error))?;
            Answer::new(format!("{text}\n"), &schema)
        }
    }
}
