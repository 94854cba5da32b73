//! Which tables the entries mean.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{Error, ErrorKind, Result, TableName};
use sqlserver_client::no_such_table;

use super::{Config, Table};

/// What there is to read.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    /// Tables.
    pub(crate) tables: Vec<TableName>,
    /// Views, and tables of dead letters, which only an exact name means.
    pub(crate) by_name: Vec<TableName>,
}

impl Existing {
    /// The tables of a warehouse.
    pub(crate) fn in_iceberg(tables: Vec<TableName>) -> Self {
        let is_of_letters = |table: &TableName| table.name().ends_with(DEAD_LETTERS);
        let (by_name, tables) = tables.into_iter().partition(is_of_letters);
        Self { tables, by_name }
    }
}

/// What the name of a table's dead letters has behind that of the table.
const DEAD_LETTERS: &str = "__dead_letters";

/// A table with the entry that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    /// Its name in the source, or in Iceberg where there is no source.
    pub(crate) name: TableName,
    /// Its name in Iceberg.
    pub(crate) iceberg: TableName,
    /// Its name in the target.
    pub(crate) target: TableName,
    /// Its entry.
    pub(crate) entry: Table,
}

impl Selected {
    /// The Iceberg table of its rows that are not applied because of their time, if that is declared.
    pub(crate) fn dead_letters(&self) -> Option<TableName> {
        let (schema, name) = (self.iceberg.schema(), self.iceberg.name());
        let declared = !self.entry.capture.window.dead_letters().is_empty();
        declared.then(|| TableName::new(schema, format!("{name}{DEAD_LETTERS}")))
    }
}

/// The tables among `existing` that the configuration means and the command line has not left out, in the order of the entries, and of names
/// where a pattern means several. A table that an entry names is among them whether it exists or not.
///
/// # Errors
///
/// `NotFound` if the command line names a table that the configuration does not mean, a name is spelled in another case, or no table is left; `Config` if two tables would be written to one, or differ
/// only in case where the target cannot tell them apart, or a table would be both read as a source and written to as a target.
pub(crate) fn select(config: &Config, existing: &Existing, wanted: &[String]) -> Result<Vec<Selected>> {
    let readable: Vec<_> = existing.tables.iter().chain(&existing.by_name).collect();
    let entries = || config.tables.iter().enumerate();
    let mut chosen = HashMap::new();
    for (place, entry) in entries().filter(|(_, entry)| !entry.table.contains('*')) {
        let name = TableName::parse(&entry.table, "dbo")?;
        // Whether a table is there at all is its own affair, and not that of the others.
        if let Some(near) = near(&name, &readable).filter(|near| **near != name) {
            return Err(no_such_table(&name).hint(format!("did you mean {near}?")));
        }
        if chosen.insert(name, place).is_some() {
            return Err(
                Error::new(ErrorKind::Config, "two entries name the same table").with("table", &entry.table)
            );
        }
    }
    for (place, entry) in entries().filter(|(_, entry)| entry.table.contains('*')) {
        for table in existing.tables.iter().filter(|table| matches(entry, table)) {
            chosen.entry(table.clone()).or_insert(place);
        }
    }
    let mut chosen: Vec<_> = chosen.into_iter().map(|(name, place)| (place, name)).collect();
    chosen.sort();
    let selected: Vec<Selected> = chosen
        .into_iter()
        .map(|(place, name)| selected(name, &config.tables[place]))
        .collect::<Result<_>>()?;
    refuse_shared(&selected)?;
    refuse_sources(config, &selected)?;
    narrow(selected, wanted)
}

fn selected(name: TableName, entry: &Table) -> Result<Selected> {
    let mapped = |given: &Option<String>| match given {
        Some(text) => TableName::parse(text, name.schema()),
        None => Ok(name.clone()),
    };
    Ok(Selected {
        iceberg: mapped(&entry.iceberg)?,
        target: mapped(&entry.target)?,
        entry: entry.clone(),
        name,
    })
}

fn narrow(selected: Vec<Selected>, wanted: &[String]) -> Result<Vec<Selected>> {
    if wanted.is_empty() {
        return match selected.is_empty() {
            true => Err(
                Error::new(ErrorKind::NotFound, "no table matches the configuration")
                    .hint("`sync-cli tables` lists what the login can see"),
            ),
            false => Ok(selected),
        };
    }
    let wanted: Vec<TableName> = wanted
        .iter()
        .map(|text| TableName::parse(text, "dbo"))
        .collect::<Result<_>>()?;
    let known: Vec<_> = selected.iter().map(|table| &table.name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        return Err(match near(unknown, &known) {
            Some(near) => no_such_table(unknown).hint(format!("did you mean {near}?")),
            None => no_such_table(unknown),
        });
    }
    Ok(selected
        .into_iter()
        .filter(|table| wanted.contains(&table.name))
        .collect())
}

/// The table of this name, or else one whose name differs in case only.
fn near<'a>(name: &TableName, tables: &[&'a TableName]) -> Option<&'a TableName> {
    let same = tables.iter().find(|table| **table == name);
    let text = name.to_string();
    let alike = || {
        tables
            .iter()
            .find(|table| table.to_string().eq_ignore_ascii_case(&text))
    };
    same.or_else(alike).copied()
}

/// Two tables must not meet in one, not even on a server that takes `Orders` and `orders` for the same.
fn refuse_shared(tables: &[Selected]) -> Result<()> {
    let in_iceberg = |table: &Selected| [Some(table.iceberg.clone()), table.dead_letters()];
    for (side, names) in [
        ("Iceberg", in_iceberg as fn(&Selected) -> [Option<TableName>; 2]),
        ("the target", |table| [Some(table.target.clone()), None]),
    ] {
        let mut seen = BTreeMap::new();
        let written = tables
            .iter()
            .flat_map(|table| names(table).into_iter().flatten().map(move |name| (table, name)));
        for (table, name) in written {
            if let Some(other) = seen.insert(name.to_string().to_lowercase(), &table.name) {
                let why = format!(
                    "{other} and {} would both be written to {name} in {side}",
                    table.name
                );
                return Err(
                    Error::new(ErrorKind::Config, why).hint("map one of them to another name, or exclude it")
                );
            }
        }
    }
    Ok(())
}

/// A table must not be written to from where it is read.
fn refuse_sources(config: &Config, tables: &[Selected]) -> Result<()> {
    let (Some(source), Some(target)) = (&config.source, &config.target) else {
        return Ok(());
    };
    if !source.sqlserver.is_database_of(&target.sqlserver) {
        return Ok(());
    }
    let folded = |name: &TableName| name.to_string().to_lowercase();
    let enabled = || tables.iter().filter(|table| table.entry.enabled);
    let sources: HashSet<_> = enabled().map(|table| folded(&table.name)).collect();
    match enabled().find(|table| sources.contains(&folded(&table.target))) {
        None => Ok(()),
        Some(table) => Err(Error::new(
            ErrorKind::Config,
            format!("{} would be written to as a target, and is read as a source", table.target),
        )
        .hint("`source` and `target` name the same database: correct one of them, or give the table another `target`")),
    }
}

fn matches(entry: &Table, table: &TableName) -> bool {
    let text = table.to_string();
    let plain = format!("{}.{}", table.schema(), table.name());
    let hit = |pattern: &str| wildcard(pattern, &text) || wildcard(pattern, &plain);
    hit(&entry.table) && !entry.exclude.iter().any(|pattern| hit(pattern))
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expect) in [
            ("dbo.*", "dbo.Orders", true),
            ("dbo.*", "sales.Orders", false),
            ("*.Order*", "dbo.OrderLines", true),
            ("*.Order*s", "dbo.OrderLine", false),
            ("dbo.Orders", "dbo.Orders", true),
            ("dbo.Orders", "dbo.Orders2", false),
            ("a*a", "a", false),
            ("*", "anything", true),
        ] {
            assert_eq!(wildcard(pattern, text), expect, "{pattern} {text}");
        }
    }

    fn config(tables: &str) -> Config {
        let text = format!(
            "sync: s\nsource: {{sqlserver: {{host: h, database: d, user: u, password: p}}}}\niceberg: {{filesystem: {{warehouse: w}}}}\ntables:\n{tables}"
        );
        super::super::load::parse(&text, []).unwrap()
    }

    /// Names that begin with `V` are views.
    fn existing(tables: &[&str]) -> Existing {
        let names = tables.iter().map(|table| table.parse().unwrap());
        let (by_name, tables) = names.partition(|name: &TableName| name.name().starts_with('V'));
        Existing { tables, by_name }
    }

    fn chosen(tables: &str, existing: &[&str], wanted: &[&str]) -> std::result::Result<Vec<String>, String> {
        let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
        select(&config(tables), &self::existing(existing), &wanted)
            .map(|tables| tables.iter().map(|table| table.name.to_string()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn exact_names_go_before_patterns_and_exclusions_hold() {
        let existing = ["dbo.A", "dbo.B", "dbo.LogX", "x.[a.b]"];
        let all = chosen("- table: dbo.*\n  exclude: [dbo.Log*]\n", &existing, &[]);
        assert_eq!(all.unwrap(), ["dbo.A", "dbo.B"]);
        assert_eq!(
            chosen("- table: '*'\n", &existing, &["dbo.B"]).unwrap(),
            ["dbo.B"]
        );
        assert_eq!(chosen("- table: x.[a.b]\n", &existing, &[]).unwrap(), ["x.[a.b]"]);
        assert!(
            chosen("- table: dbo.a\n", &existing, &[])
                .unwrap_err()
                .contains("no table dbo.a")
        );
        assert!(chosen("- table: dbo.*\n", &existing, &["dbo.C"]).is_err());
        assert!(chosen("- table: none.*\n", &existing, &[]).is_err());
    }

    /// So with `parallel_tables: 1` parents come before their children.
    #[test]
    fn tables_come_in_the_order_of_the_entries() {
        let tables = "- table: dbo.Parents\n- table: dbo.*\n- table: dbo.Childless\n";
        let found = chosen(tables, &["dbo.A", "dbo.Childless", "dbo.B", "dbo.Parents"], &[]);
        assert_eq!(found.unwrap(), ["dbo.Parents", "dbo.A", "dbo.B", "dbo.Childless"]);
    }

    #[test]
    fn a_view_is_meant_by_its_name_only() {
        let existing = ["dbo.A", "dbo.V"];
        assert_eq!(chosen("- table: dbo.*\n", &existing, &[]).unwrap(), ["dbo.A"]);
        assert_eq!(chosen("- table: dbo.V\n", &existing, &[]).unwrap(), ["dbo.V"]);
    }

    #[test]
    fn dead_letters_in_a_warehouse_are_meant_by_their_name_only() {
        let all = ["dbo.A", "dbo.A__dead_letters"].map(|name| name.parse().unwrap());
        let existing = Existing::in_iceberg(all.to_vec());
        for (tables, expect) in [
            ("- table: dbo.*\n", &all[..1]),
            ("- table: dbo.A__dead_letters\n", &all[1..]),
        ] {
            let found = select(&config(tables), &existing, &[]).unwrap();
            let found: Vec<_> = found.into_iter().map(|table| table.name).collect();
            assert_eq!(found, expect);
        }
    }

    #[test]
    fn no_table_is_written_to_from_where_it_is_read() {
        let selected = |target: &str, tables: &str| {
            let text = format!(
                "sync: s\nsource: {{sqlserver: {{host: DB1, database: shop, user: u, password: p}}}}\n\
                 target: {{sqlserver: {{{target}, user: v, password: q}}}}\niceberg: {{filesystem: {{warehouse: w}}}}\ntables:\n{tables}"
            );
            let config = super::super::load::parse(&text, []).unwrap();
            select(&config, &existing(&["dbo.A", "dbo.B"]), &[])
        };
        for tables in [
            "- table: dbo.A\n",
            "- table: dbo.*\n  target: dbo.b\n",
            "- table: dbo.A\n  target: dbo.a\n",
        ] {
            let refused = selected("host: db1, database: Shop", tables).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Config, "{tables}");
        }
        let unread = "- table: dbo.A\n  enabled: false\n  target: dbo.C\n- table: dbo.B\n  target: dbo.A\n";
        assert!(selected("host: db1, database: shop", unread).is_ok());
        let copy = "- table: dbo.A\n  target: dbo.Copy\n";
        assert!(selected("host: db1, database: shop", copy).is_ok());
        for elsewhere in [
            "host: db2, database: shop",
            "host: db1, port: 1434, database: shop",
            "host: db1, database: mirror",
        ] {
            assert!(selected(elsewhere, "- table: dbo.A\n").is_ok(), "{elsewhere}");
        }
    }

    #[test]
    fn two_tables_never_meet_in_one() {
        let existing = ["dbo.A", "dbo.B", "dbo.a"];
        assert!(
            chosen(
                "- table: dbo.A\n  iceberg: dbo.B\n- table: dbo.B\n",
                &existing,
                &[]
            )
            .unwrap_err()
            .contains("both")
        );
        assert!(
            chosen("- table: dbo.*\n", &existing, &[])
                .unwrap_err()
                .contains("both")
        );
        let existing = ["dbo.A", "dbo.A__dead_letters"];
        assert!(chosen("- table: dbo.*\n", &existing, &[]).is_ok());
        let dead_letters = "- table: dbo.*\n  capture: { window: { late: dead_letter } }\n";
        assert!(chosen(dead_letters, &existing, &[]).unwrap_err().contains("both"));
    }
}
