//! Logins, users, roles and permissions.

use super::Parser;
use crate::ast::{PermissionChange, PermissionKind, Securable, StatementKind};
use crate::error::SqlResult;
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `CREATE LOGIN name WITH PASSWORD = '…', DEFAULT_DATABASE = x, CHECK_POLICY = OFF`
    pub(super) fn create_login(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.name()?;
        let (mut password, mut default_database) = (None, None);
        if self.eat("WITH") {
            self.comma_list(|parser| {
                let option = parser.word()?.to_ascii_uppercase();
                parser.expect_symbol("=")?;
                match option.as_str() {
                    "PASSWORD" => {
                        password = Some(parser.string()?);
                        parser.eat("MUST_CHANGE");
                    }
                    "DEFAULT_DATABASE" => default_database = Some(parser.name()?),
                    _ => parser.advance(),
                }
                Ok(())
            })?;
        } else {
            return Err(self.unsupported("logins without a password"));
        }
        Ok(StatementKind::CreateLogin {
            name,
            password,
            default_database,
        })
    }

    /// `CREATE USER name [FOR LOGIN login | WITHOUT LOGIN] [WITH DEFAULT_SCHEMA = s]`
    pub(super) fn create_user(&mut self) -> SqlResult<StatementKind> {
        self.advance();
        let name = self.name()?;
        let mut login = None;
        if self.eat_words(&["FOR", "LOGIN"]) || self.eat_words(&["FROM", "LOGIN"]) {
            login = Some(self.name()?);
        } else if !self.eat_words(&["WITHOUT", "LOGIN"]) {
            login = Some(name.clone());
        }
        if self.eat_words(&["WITH", "DEFAULT_SCHEMA"]) {
            self.expect_symbol("=")?;
            self.name()?;
        }
        Ok(StatementKind::CreateUser { name, login })
    }

    /// `ALTER [SERVER] ROLE role ADD | DROP MEMBER member`
    pub(super) fn alter_role(&mut self) -> SqlResult<StatementKind> {
        self.eat("SERVER");
        self.expect("ROLE")?;
        let role = self.name()?;
        let add = self.eat("ADD");
        if !add {
            self.expect("DROP")?;
        }
        self.expect("MEMBER")?;
        Ok(StatementKind::AlterRole {
            role,
            member: self.name()?,
            add,
        })
    }

    pub(super) fn permission(&mut self) -> SqlResult<StatementKind> {
        let kind = match self.eat_one_of(&["GRANT", "DENY", "REVOKE"]) {
            Some("GRANT") => PermissionKind::Grant,
            Some("DENY") => PermissionKind::Deny,
            _ => PermissionKind::Revoke,
        };
        if kind == PermissionKind::Revoke {
            self.eat_words(&["GRANT", "OPTION", "FOR"]);
        }
        let permissions = self.comma_list(Self::permission_name)?;
        let securable = if self.eat("ON") {
            self.securable()?
        } else {
            Securable::Scope
        };
        if !self.eat("TO") {
            self.expect("FROM")?;
        }
        let principals = self.comma_list(|parser| {
            if parser.is_word("PUBLIC") {
                parser.word()
            } else {
                parser.name()
            }
        })?;
        self.eat_words(&["WITH", "GRANT", "OPTION"]);
        self.eat("CASCADE");
        let change = PermissionChange {
            kind,
            permissions,
            securable,
            principals,
        };
        Ok(StatementKind::Permission(Box::new(change)))
    }

    /// The words up to a comma, ON, TO or FROM.
    fn permission_name(&mut self) -> SqlResult<String> {
        let mut words = Vec::new();
        while let TokenKind::Word(word) = self.kind(0) {
            if !words.is_empty()
                && ["ON", "TO", "FROM"]
                    .iter()
                    .any(|end| word.eq_ignore_ascii_case(end))
            {
                break;
            }
            words.push(word.to_ascii_uppercase());
            self.advance();
        }
        if words.is_empty() {
            return Err(self.unexpected());
        }
        if self.is_symbol("(") {
            return Err(self.unsupported("permissions on columns"));
        }
        Ok(words.join(" "))
    }

    fn securable(&mut self) -> SqlResult<Securable> {
        if !self.symbol_at(1, "::") {
            return Ok(Securable::Object(self.object_name()?));
        }
        let class = self.word()?.to_ascii_uppercase();
        self.expect_symbol("::")?;
        Ok(match class.as_str() {
            "SCHEMA" => Securable::Schema(self.name()?),
            "DATABASE" => Securable::Database(self.name()?),
            _ => Securable::Object(self.object_name()?),
        })
    }
}
