//! A statement without what differs from table to table: names, types, numbers, texts, and how long lists are.

const TYPES: [&str; 34] = [
    "BIGINT",
    "BINARY",
    "BIT",
    "CHAR",
    "DATE",
    "DATETIME",
    "DATETIME2",
    "DATETIMEOFFSET",
    "DECIMAL",
    "FLOAT",
    "GEOGRAPHY",
    "GEOMETRY",
    "HIERARCHYID",
    "IMAGE",
    "INT",
    "MONEY",
    "NCHAR",
    "NTEXT",
    "NUMERIC",
    "NVARCHAR",
    "REAL",
    "ROWVERSION",
    "SMALLDATETIME",
    "SMALLINT",
    "SMALLMONEY",
    "SQL_VARIANT",
    "TEXT",
    "TIME",
    "TIMESTAMP",
    "TINYINT",
    "UNIQUEIDENTIFIER",
    "VARBINARY",
    "VARCHAR",
    "XML",
];

/// What a list's elements are separated by.
const SEPARATORS: [&str; 4] = [",", "AND", "OR", ";"];
/// Elements of lists have so many tokens at most.
const LONGEST: usize = 120;

/// The statement's template.
pub(super) fn template(sql: &str) -> String {
    let mut tokens = generalised(&tokens(sql));
    while shortened(&mut tokens) {}
    tokens.join(" ")
}

/// Words and symbols, with names, texts and numbers replaced.
pub(super) fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || "_@#$".contains(c);
        let (token, length) = match first {
            '[' => ("[x]".to_owned(), quoted(rest, ']')),
            '\'' => ("'…'".to_owned(), quoted(rest, '\'')),
            'N' if rest.starts_with("N'") => ("'…'".to_owned(), 1 + quoted(&rest[1..], '\'')),
            _ if word(first) => {
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                (general(&rest[..length]), length)
            }
            _ => (first.to_string(), first.len_utf8()),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The length of a text in quotes, which are doubled inside.
fn quoted(text: &str, end: char) -> usize {
    let mut marks = text.char_indices().skip(1).filter(|(_, c)| *c == end).peekable();
    while let Some((at, _)) = marks.next() {
        if marks.next_if(|(next, _)| *next == at + 1).is_none() {
            return at + 1;
        }
    }
    text.len()
}

fn general(word: &str) -> String {
    let upper = word.to_uppercase();
    match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => "0x".to_owned(),
        [b'0'..=b'9', ..] => "0".to_owned(),
        [b'#', ..] => "#x".to_owned(),
        [b'@', b'@', ..] => upper,
        [b'@', ..] => upper.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(),
        _ => upper,
    }
}

/// One word for every type and collation; NOT NULL is as NULL.
fn generalised(tokens: &[String]) -> Vec<String> {
    let mut general: Vec<String> = Vec::new();
    let mut rest = tokens;
    while let [token, tail @ ..] = rest {
        rest = tail;
        let word = token.as_str();
        if TYPES.contains(&word) {
            general.push("type".to_owned());
            if rest.first().is_some_and(|next| next == "(")
                && let Some(end) = rest.iter().position(|next| next == ")")
            {
                rest = &rest[end + 1..];
            }
        } else if word == "COLLATE" {
            rest = rest.get(1..).unwrap_or_default();
        } else if word == "NOT" && rest.first().is_some_and(|next| next == "NULL") {
        } else {
            general.push(token.clone());
        }
    }
    general
}

/// Takes out the second of two equal elements of a list; false if there are none.
fn shortened(tokens: &mut Vec<String>) -> bool {
    for length in 1..=LONGEST.min(tokens.len() / 2) {
        for start in 0..tokens.len().saturating_sub(2 * length) {
            let (middle, end) = (start + length, start + 2 * length + 1);
            if SEPARATORS.contains(&tokens[middle].as_str())
                && tokens[start..middle] == tokens[middle + 1..end]
            {
                tokens.drain(middle..end);
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_by_table_is_left_out() {
        for (sql, expect) in [
            (
                "SELECT [a], [b]]c], [d] FROM [s].[t]",
                "SELECT [x] FROM [x] . [x]",
            ),
            ("select  N'it''s',\n'x', 0xFF, 1.5", "SELECT '…' , 0x , 0 . 0"),
            (
                "CREATE TABLE #t ([a] int NOT NULL, [b] nvarchar(10) COLLATE Latin1_General_CI_AS NULL)",
                "CREATE TABLE #x ( [x] type NULL )",
            ),
            (
                "WHERE [a] = @P1 AND [b] = @P2 AND @@SPID = @x",
                "WHERE [x] = @P AND @@SPID = @X",
            ),
            (
                "SELECT CAST([a] AS decimal(9, 2)), CAST([b] AS varbinary(max))",
                "SELECT CAST ( [x] AS type )",
            ),
        ] {
            assert_eq!(template(sql), expect);
        }
    }
}
