//! Names of objects as functions take them: `OBJECT_ID(N'[db].[schema].[name]')`.

/// A name of up to three parts; a fourth would name a linked server, and there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectReference {
    pub(crate) database: Option<String>,
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl ObjectReference {
    /// Nothing if the text is no name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text)?;
        let name = parts.pop().flatten()?;
        let schema = parts.pop().flatten();
        let database = parts.pop().flatten();
        parts.is_empty().then_some(Self {
            database,
            schema,
            name,
        })
    }
}

impl ObjectReference {
    /// As the parser would have read it.
    pub(crate) fn into_name(self) -> crate::ast::ObjectName {
        crate::ast::ObjectName {
            server: None,
            database: self.database,
            schema: self.schema,
            name: self.name,
        }
    }
}

/// The parts between dots, without their brackets or quotes; an empty part is none.
fn split(text: &str) -> Option<Vec<Option<String>>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = first_part(rest)?;
        parts.push((!part.is_empty()).then_some(part));
        match after.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None => return after.trim().is_empty().then_some(parts),
        }
    }
}

/// The first part and what follows it.
fn first_part(text: &str) -> Option<(String, &str)> {
    let close = match text.chars().next() {
        Some('[') => ']',
        Some('"') => '"',
        _ => {
            let end = text.find('.').unwrap_or(text.len());
            let (part, after) = text.split_at(end);
            return Some((part.trim_end().to_owned(), after));
        }
    };
    let mut part = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character != close {
            part.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == close) {
            characters.next();
            part.push(close);
        } else {
            return Some((part, text.get(at + 1..).unwrap_or_default()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let reference = |database: &str, schema: &str, name: &str| {
            let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Some(ObjectReference {
                database: part(database),
                schema: part(schema),
                name: name.to_owned(),
            })
        };
        for (text, expect) in [
            ("t", reference("", "", "t")),
            ("dbo.t", reference("", "dbo", "t")),
            ("[a]]b].[c.d]", reference("", "a]b", "c.d")),
            ("tempdb..#t", reference("tempdb", "", "#t")),
            ("[tempdb]..[#t]", reference("tempdb", "", "#t")),
            (" db . \"dbo\" . [t ] ", reference("db", "dbo", "t ")),
            ("", None),
            ("a.b.c.d", None),
            ("[open", None),
            ("[a]b", None),
            ("dbo.", None),
        ] {
            assert_eq!(ObjectReference::parse(text), expect, "{text}");
        }
    }
}
