//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// What stands behind a command's own options in its help.
const GLOBAL: &str = "Global options";

/// Keeps SQL Server databases and Apache Iceberg tables equal, in both directions, and proves it.
#[derive(Debug, Parser)]
#[command(name = "sync-cli", version, about, max_term_width = 110)]
pub struct Arguments {
    /// The configuration file.
    #[arg(
        short,
        long,
        global = true,
        help_heading = GLOBAL,
        env = "SYNC_CONFIG",
        default_value = "sync.yaml",
        value_name = "FILE"
    )]
    pub config: PathBuf,

    /// How results are printed.
    #[arg(short, long, global = true, help_heading = GLOBAL, value_enum, default_value_t = Output::Human)]
    pub output: Output,

    /// Log more: -v for steps, -vv for every statement. Overridden by RUST_LOG.
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Human,
    /// One JSON document; `run --follow` prints one per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at a database and write a configuration for it.
    Init(Init),
    /// Probe everything that a run needs, and change nothing.
    Check(Tables),
    /// Tell what a run would do, and change nothing.
    Plan(Tables),
    /// Bring Iceberg and the target up to date.
    Run(Run),
    /// Tell how far every table has got.
    Status(Tables),
    /// List the source's tables, with key and tracking column.
    Tables,
    /// Show an Iceberg table: shape, files, first rows.
    Inspect(Inspect),
    /// List an Iceberg table's snapshots.
    Snapshots(OneTable),
    /// Compare source, Iceberg and target, row by row.
    Verify(Verify),
    /// Look at the state store, or forget a table.
    #[command(subcommand)]
    State(State),
    /// Keep Iceberg tables small and their files few.
    #[command(subcommand)]
    Maintain(Maintain),
    /// Help with the configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Which tables.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Tables {
    /// Only this table, by its name in the source; may be repeated.
    #[arg(short, long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,
}

/// What to do to keep Iceberg tables small.
#[derive(Debug, Subcommand)]
pub enum Maintain {
    /// Write the rows of small files, and of files with many deletes, into few files, and merge small manifests.
    Compact {
        /// Which tables.
        #[command(flatten)]
        tables: Tables,
        /// Leave partitions alone that were written to in the last so many minutes.
        #[arg(long, default_value_t = 0, value_name = "MINUTES")]
        settled: i64,
    },
    /// Forget old snapshots, and remove the files that only they have.
    Expire {
        /// Which tables.
        #[command(flatten)]
        tables: Tables,
        /// Snapshots younger than this many days stay; by default what the table's property `history.expire.max-snapshot-age-ms` says,
        /// or 5 days.
        #[arg(long, value_name = "DAYS")]
        older_than: Option<u32>,
        /// So many of the newest snapshots stay.
        #[arg(long, value_name = "COUNT")]
        keep: Option<usize>,
        /// Only tell what would expire.
        #[arg(long)]
        dry_run: bool,
    },
    /// Find files that nothing refers to, left behind by programs that were killed.
    Orphans {
        /// Which tables.
        #[command(flatten)]
        tables: Tables,
        /// Spare files younger than this many days; at least 3.
        #[arg(long, default_value_t = 3, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(3..))]
        older_than: u32,
        /// Remove them, instead of only listing them.
        #[arg(long)]
        remove: bool,
    },
}

/// What to compare, and whether to mend it.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The tables.
    #[command(flatten)]
    pub tables: Tables,
    /// Bring the keys that differ in line: Iceberg with the source, the target with Iceberg.
    #[arg(long)]
    pub repair: bool,
    /// Repair even if that deletes more than a tenth of a table, or of the keys that are compared.
    #[arg(long, requires = "repair")]
    pub confirm_deletes: bool,
    /// Only keys from this one on: a value of the key's first column, or columns as reports name them: '{"OrderId":7,"Line":1}'. Needs one
    /// table.
    #[arg(long, value_name = "KEY", requires = "tables", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Only keys up to this one, and what begins like it.
    #[arg(long, value_name = "KEY", requires = "tables", allow_hyphen_values = true)]
    pub to: Option<String>,
}

/// One table.
#[derive(Debug, clap::Args)]
pub struct OneTable {
    /// The table, by its name in the source.
    pub table: String,
}

/// Where to look, and what to write.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The server.
    #[arg(long)]
    pub host: String,
    /// Its port.
    #[arg(long, default_value_t = 1433)]
    pub port: u16,
    /// The database.
    #[arg(long)]
    pub database: String,
    /// The login.
    #[arg(long)]
    pub user: String,
    /// The environment variable that holds the password. The configuration will name it, not its value.
    #[arg(long, default_value = "SOURCE_PASSWORD", value_name = "VARIABLE")]
    pub password_env: String,
    /// Accept any server certificate.
    #[arg(long, conflicts_with_all = ["server_certificate", "host_name_in_certificate"])]
    pub trust_server_certificate: bool,
    /// The server's own certificate (PEM or DER), accepted instead of one that an authority vouches for.
    #[arg(long, value_name = "FILE", conflicts_with = "host_name_in_certificate")]
    pub server_certificate: Option<PathBuf>,
    /// The name in the server's certificate, where it differs from the host.
    #[arg(long, value_name = "NAME")]
    pub host_name_in_certificate: Option<String>,
    /// Where the Iceberg tables will be.
    #[arg(long, default_value = "warehouse", value_name = "DIRECTORY")]
    pub warehouse: PathBuf,
    /// Replace an existing configuration file.
    #[arg(long)]
    pub force: bool,
}

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Which tables.
    #[command(flatten)]
    pub tables: Tables,
    /// Go on until a signal comes: each table again as soon as there is something new.
    #[arg(long, conflicts_with_all = ["full", "snapshot"])]
    pub follow: bool,
    /// Copy everything again and replace what is there, in one commit per table.
    #[arg(long)]
    pub full: bool,
    /// Apply this Iceberg snapshot, by its id or by the name of a tag or branch, to the target instead of the newest; needs exactly one table.
    #[arg(long, value_name = "ID|NAME")]
    pub snapshot: Option<String>,
}

/// What to show of an Iceberg table.
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// The table, by its name in the source.
    pub table: String,
    /// As of this snapshot, by its id or by the name of a tag or branch.
    #[arg(long, value_name = "ID|NAME")]
    pub snapshot: Option<String>,
    /// As of this time, in RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
    pub at: Option<String>,
    /// How many rows to show.
    #[arg(long, default_value_t = 10)]
    pub rows: usize,
}

/// What to do with the state store.
#[derive(Debug, Subcommand)]
pub enum State {
    /// The newest state of every table.
    Show(Tables),
    /// The states that are still kept.
    History(Tables),
    /// Forget a table's state; the next run rebuilds it from the marks in the target.
    Reset(Tables),
}

/// Help with the configuration file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Its JSON schema, for editors.
    Schema,
    /// An example to begin with.
    Example,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn global_options_stand_behind_those_of_the_command() {
        fn check(command: &clap::Command) {
            let help = command.clone().render_long_help().to_string();
            let (own, global) = help.split_once(GLOBAL).expect("every command has them");
            for option in ["--config <FILE>", "--output <OUTPUT>", "--verbose"] {
                assert!(!own.contains(option) && global.contains(option), "{help}");
            }
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .for_each(check);
        }
        let mut command = Arguments::command();
        command.build();
        check(&command);
    }
}
