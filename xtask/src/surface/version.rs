//! The first server that takes a statement, by the types that it names.

use super::template::tokens;

/// Servers, from the first one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    V2016,
    V2025,
}

impl Version {
    /// All, each with the heading of its statements.
    pub(super) const HEADINGS: [(Self, &str); 2] = [
        (Self::V2016, "From SQL Server 2016 on, and Azure SQL"),
        (
            Self::V2025,
            "From SQL Server 2025 on, and Azure SQL: the types `json` and `vector`",
        ),
    ];

    /// The first that knows every type of a statement. `FOR JSON` is older than the type.
    pub(super) fn first(sql: &str) -> Self {
        let tokens = tokens(sql);
        let at = |place: usize| tokens.get(place).map_or("", String::as_str);
        let new_type = (0..tokens.len()).any(|place| match at(place) {
            "JSON" => place == 0 || at(place - 1) != "FOR",
            "VECTOR" => at(place + 1) == "(",
            _ => false,
        });
        if new_type { Self::V2025 } else { Self::V2016 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_with_a_new_type_needs_a_new_server() {
        for (sql, first) in [
            ("CREATE TABLE [json] ([vector] int)", Version::V2016),
            ("SELECT N'json', N'{\"a\":1} vector(2)'", Version::V2016),
            ("SELECT c.vector FROM t AS c FOR JSON AUTO", Version::V2016),
            ("CREATE TABLE t ([j] json NULL)", Version::V2025),
            ("SELECT CAST(s.c1 AS json) FROM #s AS s", Version::V2025),
            ("SELECT CAST(N'[1]' AS vector(1)) AS one", Version::V2025),
        ] {
            assert_eq!(Version::first(sql), first, "{sql}");
        }
    }
}
