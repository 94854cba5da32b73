//! Quoting of identifiers and literals. Every name that reaches T-SQL goes through here; values are bound, and only a
//! place that cannot be bound (a default, a collation) uses a literal.

use model::TableName;

/// An identifier in brackets, with `]` doubled.
pub fn identifier(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A schema-qualified table name, both parts quoted.
pub fn table(name: &TableName) -> String {
    format!("{}.{}", identifier(name.schema()), identifier(name.name()))
}

/// Identifiers, quoted and separated by commas.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(identifier).collect::<Vec<_>>().join(", ")
}

/// A Unicode string literal.
pub fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_identifier() {
        for (name, quoted) in [
            ("plain", "[plain]"),
            ("a]b", "[a]]b]"),
            ("]", "[]]]"),
            ("dot.ted", "[dot.ted]"),
            ("with blank", "[with blank]"),
            ("it's \"quoted\"", "[it's \"quoted\"]"),
            ("𝒳", "[𝒳]"),
            ("[x", "[[x]"),
            ("x]; DROP TABLE y; --", "[x]]; DROP TABLE y; --]"),
        ] {
            assert_eq!(identifier(name), quoted);
        }
        assert_eq!(table(&TableName::new("a]", "b.c")), "[a]]].[b.c]");
        assert_eq!(list(["a", "b]"]), "[a], [b]]]");
    }

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("it's"), "N'it''s'");
        assert_eq!(literal("''"), "N''''''");
    }
}
