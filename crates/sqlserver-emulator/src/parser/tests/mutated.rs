//! Damaged statements: whatever is taken out or doubled, the parser answers with a statement or an error.

use super::super::parse_batch;
use super::accepted::all;
use crate::lexer::tokenize;

#[test]
fn damaged_statements_end_in_an_error_at_worst() {
    let (mut parsed, mut refused) = (0, 0);
    for sql in all() {
        let tokens = tokenize(sql, true).unwrap();
        for token in &tokens {
            let (before, at, after) = (
                &sql[..token.start],
                &sql[token.start..token.end],
                &sql[token.end..],
            );
            for damaged in [
                format!("{before}{after}"),
                format!("{before}{at} {at}{after}"),
                before.to_owned(),
            ] {
                match parse_batch(&damaged, true) {
                    Ok(_) => parsed += 1,
                    Err(error) => {
                        refused += 1;
                        assert!(error.class >= 15 && error.line > 0, "{damaged}: {error}");
                    }
                }
            }
        }
    }
    assert!(parsed > 500 && refused > 500, "{parsed} {refused}");
}
