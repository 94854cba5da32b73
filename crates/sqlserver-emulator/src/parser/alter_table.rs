//! ALTER TABLE.

use super::Parser;
use crate::ast::{AlterTable, StatementKind, TableDefinition};
use crate::error::SqlResult;

impl Parser<'_> {
    pub(super) fn alter_table(&mut self) -> SqlResult<StatementKind> {
        let start = self.start();
        self.advance();
        let name = self.object_name()?;
        let check = match self.eat("WITH").then(|| self.eat_one_of(&["CHECK", "NOCHECK"])) {
            None => None,
            Some(Some(word)) => Some(word == "CHECK"),
            Some(None) => return Err(self.unexpected()),
        };
        let action = if self.eat("ADD") {
            AlterTable::Add {
                items: self.added_items()?,
                check,
            }
        } else if self.eat_words(&["ALTER", "COLUMN"]) {
            AlterTable::AlterColumn(Box::new(self.altered_column()?))
        } else if self.eat("DROP") {
            self.dropped_items()?
        } else if self.is_word("CHECK") || self.is_word("NOCHECK") {
            let enable = self.eat_one_of(&["CHECK", "NOCHECK"]) == Some("CHECK");
            self.expect("CONSTRAINT")?;
            let constraints = self.all_or_names()?;
            AlterTable::Check {
                enable,
                validate: check == Some(true),
                constraints,
            }
        } else if self.is_word("ENABLE") || self.is_word("DISABLE") {
            self.switched_item()?
        } else if self.is_word("REBUILD") {
            self.skip_statement();
            AlterTable::NoEffect
        } else if self.is_word("SWITCH") {
            return Err(self.unsupported("partition switching"));
        } else if self.is_word("SET") {
            return Err(self.unsupported("ALTER TABLE … SET"));
        } else {
            return Err(self.unexpected());
        };
        let text = format!("ALTER {}", self.text_since(start));
        Ok(StatementKind::AlterTable { name, action, text })
    }

    /// The word COLUMN does not stand here: `ADD a int, b int, CONSTRAINT …`.
    fn added_items(&mut self) -> SqlResult<TableDefinition> {
        let mut items = TableDefinition {
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
        };
        self.comma_list(|parser| parser.table_item(&mut items))?;
        Ok(items)
    }

    /// `DROP COLUMN a, b, CONSTRAINT c`, `DROP c`
    fn dropped_items(&mut self) -> SqlResult<AlterTable> {
        let (mut columns, mut constraints, mut if_exists) = (Vec::new(), Vec::new(), false);
        let mut in_columns = false;
        self.comma_list(|parser| {
            if let Some(word) = parser.eat_one_of(&["COLUMN", "CONSTRAINT"]) {
                in_columns = word == "COLUMN";
                if_exists |= parser.eat_words(&["IF", "EXISTS"]);
            }
            let list = if in_columns {
                &mut columns
            } else {
                &mut constraints
            };
            list.push(parser.name()?);
            parser.storage_clause()
        })?;
        Ok(AlterTable::Drop {
            columns,
            constraints,
            if_exists,
        })
    }

    fn all_or_names(&mut self) -> SqlResult<Vec<String>> {
        if self.eat("ALL") {
            Ok(Vec::new())
        } else {
            self.comma_list(Self::name)
        }
    }

    fn switched_item(&mut self) -> SqlResult<AlterTable> {
        let enable = self.eat_one_of(&["ENABLE", "DISABLE"]) == Some("ENABLE");
        if self.eat("TRIGGER") {
            return Ok(AlterTable::Trigger {
                enable,
                names: self.all_or_names()?,
            });
        }
        self.expect("CHANGE_TRACKING")?;
        let mut track_columns = false;
        if self.eat("WITH") {
            self.expect_symbol("(")?;
            self.expect("TRACK_COLUMNS_UPDATED")?;
            self.expect_symbol("=")?;
            track_columns = self.switch()?;
            self.expect_symbol(")")?;
        }
        Ok(AlterTable::ChangeTracking {
            enable,
            track_columns,
        })
    }
}
