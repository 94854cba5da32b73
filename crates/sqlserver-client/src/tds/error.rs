//! The driver's errors and SQL Server's error numbers as kinds.

use std::ops::RangeInclusive;

use model::{Error, ErrorKind};
use mssql_tds::error::{Error as TdsError, SqlErrorInfo};

/// An error of the driver, before it is known what was tried.
#[derive(Debug)]
pub(crate) struct LinkError(TdsError);

impl From<TdsError> for LinkError {
    fn from(error: TdsError) -> Self {
        Self(error)
    }
}

impl LinkError {
    /// Whether the server answered with an error, so that the outcome of the statement is known.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(&self.0, TdsError::SqlServerError { diagnostics } if diagnostics.has_errors())
    }

    /// The error as the caller sees it.
    pub(crate) fn into_error(self) -> Error {
        match &self.0 {
            TdsError::SqlServerError { diagnostics } => from_server(&diagnostics.errors),
            TdsError::Io(_)
            | TdsError::ConnectionClosed(_)
            | TdsError::ConnectionError(_)
            | TdsError::TimeoutError(_)
            | TdsError::SessionNotRecoverable(_)
            | TdsError::SessionRecoveryFailed { .. }
            | TdsError::ReconnectionValidationFailed(_)
            | TdsError::Redirection { .. } => {
                Error::new(ErrorKind::Unavailable, "the link to SQL Server was lost").caused_by(self.0)
            }
            TdsError::OperationCancelledError(_) => Error::cancelled(),
            TdsError::ProtocolError(_) => {
                Error::new(ErrorKind::Unavailable, "the server's answer could not be read").caused_by(self.0)
            }
            TdsError::TypeConversionError(_) | TdsError::EncodedValueTooLong { .. } => {
                Error::new(ErrorKind::Data, "a value does not fit its type").caused_by(self.0)
            }
            TdsError::UnsupportedEncoding { .. } => {
                Error::new(ErrorKind::Unsupported, "a column's code page is not known").caused_by(self.0)
            }
            _ => Error::internal("the SQL Server driver failed").caused_by(self.0),
        }
    }

    /// The error of a connection attempt.
    pub(crate) fn into_connect_error(self) -> Error {
        match &self.0 {
            TdsError::SqlServerError { diagnostics } => from_login(&diagnostics.errors),
            TdsError::TlsError(_)
            | TdsError::TlsHandshakeError { .. }
            | TdsError::CertificateExpired
            | TdsError::CertificateMismatch
            | TdsError::NoServerCertificate => certificate(self.0),
            TdsError::CertificateNotFound { .. }
            | TdsError::InvalidCertificateFormat { .. }
            | TdsError::CertificateFileIoError { .. } => Error::new(
                ErrorKind::Config,
                "the server's certificate cannot be read from its file",
            )
            .hint("check the file that `server_certificate` names: PEM or DER")
            .caused_by(self.0),
            TdsError::TimeoutError(_) => Error::new(
                ErrorKind::Unavailable,
                "the server did not answer within `connect_timeout_seconds`",
            )
            .hint("check `host` and `port`, the firewall, and that the server listens on TCP")
            .caused_by(self.0),
            TdsError::UsageError(_) => {
                Error::new(ErrorKind::Config, "the connection options do not fit").caused_by(self.0)
            }
            other if mentions_tls(other) => certificate(self.0),
            _ => Error::new(ErrorKind::Unavailable, "cannot reach the server")
                .hint("check `host` and `port`, the firewall, and that the server listens on TCP")
                .caused_by(self.0),
        }
    }
}

/// Some TLS failures arrive wrapped in an I/O or connection error.
fn mentions_tls(error: &TdsError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    ["certificate", "tls", "ssl"]
        .iter()
        .any(|word| text.contains(word))
}

/// A certificate that was looked at and not accepted will not be accepted by trying again; a handshake that broke off may succeed.
fn refuses_certificate(error: &TdsError) -> bool {
    match error {
        TdsError::CertificateExpired | TdsError::CertificateMismatch | TdsError::NoServerCertificate => true,
        TdsError::TlsError(tls) | TdsError::TlsHandshakeError { source: tls, .. } => {
            tls.to_string().to_ascii_lowercase().contains("certificate")
        }
        _ => false,
    }
}

fn certificate(source: TdsError) -> Error {
    let kind = match refuses_certificate(&source) {
        true => ErrorKind::Config,
        false => ErrorKind::Unavailable,
    };
    Error::new(kind, "no trusted TLS connection could be made")
        .hint(
            "put the authority that signed the server's certificate into the system's store or into the file that SSL_CERT_FILE names, or \
             give the server's own certificate as `server_certificate`, or the name in it as `host_name_in_certificate`; on a trusted \
             network `trust_server_certificate: true` accepts any certificate",
        )
        .caused_by(source)
}

/// What to do about a table that is not there.
pub(crate) const LOOK_FOR_TABLE: &str =
    "check the name and that the login can see it; `sync-cli tables` lists what it sees";

fn from_login(errors: &[SqlErrorInfo]) -> Error {
    let Some(first) = errors.first() else {
        return Error::new(
            ErrorKind::Unavailable,
            "the server refused the login without a reason",
        );
    };
    let error = match first.number {
        18456 | 18452 | 18470 | 18486..=18488 => Error::new(ErrorKind::Denied, "the login was refused")
            .hint("check `user` and `password`; the server's log names the exact reason"),
        4060 | 911 => Error::new(ErrorKind::NotFound, "the database cannot be opened")
            .hint("check `database`, that it is online, and that the login has a user in it"),
        40613 | 40197 | 40501 => Error::new(
            ErrorKind::Unavailable,
            "the database is not available at the moment",
        ),
        _ => return from_server(errors),
    };
    describe(error, first)
}

/// The error of a statement. The first error that is not a mere consequence decides.
fn from_server(errors: &[SqlErrorInfo]) -> Error {
    /// The statement has been terminated; the transaction ended in the trigger; cannot continue.
    const CONSEQUENCES: [u32; 3] = [3621, 3609, 3930];
    let telling = errors.iter().find(|error| !CONSEQUENCES.contains(&error.number));
    let Some(first) = telling.or(errors.first()) else {
        return Error::new(
            ErrorKind::Unavailable,
            "the server reported an error without details",
        );
    };
    let kind = kind_of(first.number, first.class);
    let error = describe(Error::new(kind, without_values(first)), first);
    match first.number {
        229 | 230 | 297 | 300 => match grant_for(&first.message) {
            Some(grant) => error.hint(grant),
            None => error,
        },
        208 => error.hint(LOOK_FOR_TABLE),
        3952 => error.hint("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON"),
        OWN_MESSAGES.. => error.hint(
            "a trigger or procedure of the database refused the rows: correct them at their source, or what refuses them",
        ),
        _ if kind == ErrorKind::Unsupported => {
            error.hint("the server refused a statement and says why; if nothing in the database explains it, report it with the log")
        }
        _ => error,
    }
}

/// The server's message up to where it tells a row's values. The names of constraints, indexes, tables and columns come before them.
fn without_values(error: &SqlErrorInfo) -> String {
    let message = error.message.trim();
    let value = match error.number {
        // … The duplicate key value is (…).
        1505 | 2601 | 2627 => message.find(" ("),
        // … in table '…', column '…'. Truncated value: '…'.
        2628 => message.match_indices(['\'', '"']).nth(4).map(|(at, _)| at),
        // … converting the varchar value '…' to data type int.
        244 | 245 | 248 => message.find(['\'', '"']),
        // … for data type tinyint, value = 256.
        220 | 232 => message.find('='),
        // A CLR type's own message follows in lines of its own.
        6522 => message.find(['\r', '\n']),
        _ => None,
    };
    match value.and_then(|value| message.get(..value)) {
        Some(before) => format!("{} …", before.trim_end()),
        None => message.to_owned(),
    }
}

/// The pair of context with the server's number of an error.
const NUMBER: &str = "error";

/// Whether the server does not know a statement, a function or an option: it is an older or a lesser one, or an Azure service.
pub(crate) fn is_unknown_to_server(error: &Error) -> bool {
    // Incorrect syntax; no recognized option or function; a compatibility level that is too low; not supported in this version.
    matches!(
        number_of(error),
        Some(102 | 155 | 156 | 195 | 261 | 325 | 40510..=40518)
    )
}

/// Whether what was to be created is there already. To whoever looked for it first that says that somebody else created it meanwhile.
pub fn is_there_already(error: &Error) -> bool {
    // A column; an object or a schema; the end of CREATE SCHEMA after one of them.
    matches!(number_of(error), Some(2705 | 2714 | 2759))
}

/// The server's number of an error that [`SqlErrorInfo`] became.
fn number_of(error: &Error) -> Option<u32> {
    let number = error.context().iter().find(|(key, _)| *key == NUMBER);
    number.and_then(|(_, number)| number.parse().ok())
}

fn describe(error: Error, first: &SqlErrorInfo) -> Error {
    let error = error.with(NUMBER, first.number).with("state", first.state);
    match (&first.proc_name, first.line_number) {
        (Some(procedure), Some(line)) if !procedure.is_empty() => {
            error.with("procedure", procedure).with("line", line)
        }
        (_, Some(line)) => error.with("line", line),
        _ => error,
    }
}

/// `The SELECT permission was denied on the object 'T', database 'd', schema 's'.` → the GRANT.
fn grant_for(message: &str) -> Option<String> {
    if let Some(state) = message.find("VIEW SERVER") {
        let rest = message.get(state..)?;
        let permission = rest.split(" permission").next()?;
        return Some(format!("GRANT {permission} TO [<login>]"));
    }
    let permission = message.strip_prefix("The ")?.split(" permission").next()?;
    let quoted: Vec<_> = message.split('\'').skip(1).step_by(2).collect();
    let (object, schema) = (quoted.first()?, quoted.last()?);
    if permission.contains(' ') && !permission.starts_with("VIEW") {
        return None;
    }
    Some(format!(
        "GRANT {permission} ON {}.{} TO [<user>]",
        crate::quote::identifier(schema),
        crate::quote::identifier(object)
    ))
}

/// Numbers from here on are not the server's: somebody's T-SQL throws them.
const OWN_MESSAGES: u32 = 50_000;

/// The classes of errors that the user can correct.
const REFUSALS: RangeInclusive<i32> = 11..=16;

/// The one table from SQL Server's error numbers to kinds.
fn kind_of(number: u32, class: i32) -> ErrorKind {
    match number {
        // The server has undone the work: repeat the transaction. 1222 is a lock timeout. What is created is looked for first, so of 2705,
        // 2714 and 2759 ([`is_there_already`]) the cause is somebody who created it at the same time.
        1204 | 1205 | 1222 | 2705 | 2714 | 2759 | 3960 | 3961 | 41301 | 41302 | 41305 | 41325 | 41839 => {
            ErrorKind::Transient
        }
        // Reconnect, then repeat.
        64
        | 121
        | 233
        | 976
        | 978
        | 983
        | 997
        | 3906
        | 4060
        | 4221
        | 6005
        | 10053
        | 10054
        | 10060
        | 10928
        | 10929
        | 17142
        | 18401
        | 40143
        | 40197
        | 40501
        | 40540
        | 40613
        | 49918..=49920 => ErrorKind::Unavailable,
        // 3958 and those after it: the version store has no room, and a SNAPSHOT transaction lost versions that it needs.
        701 | 802 | 1101 | 1105 | 3958 | 3959 | 3966 | 3967 | 8645 | 8651 | 9002 | 40544 | 40549..=40553 => {
            ErrorKind::Exhausted
        }
        207 | 208 | 911 | 942 | 2812 | 4701 | 15151 => ErrorKind::NotFound,
        229 | 230 | 262 | 297 | 300 | 916 | 1088 | 15247 | 18456 => ErrorKind::Denied,
        515 | 547 | 1505 | 2601 | 2627 | 3726 | 8672 => ErrorKind::Constraint,
        220 | 232 | 241 | 242 | 245 | 248 | 2628 | 4863 | 4864 | 4895 | 6522 | 8114 | 8115 | 8152 | 9420
        | 9455 => ErrorKind::Data,
        3951 | 3952 => ErrorKind::Unsupported,
        8169 => ErrorKind::Data,
        // What a function over change tables says of places in the log that it does not have (any more).
        313 => ErrorKind::Gap,
        _ if class >= 20 => ErrorKind::Unavailable,
        // What a trigger of the database throws.
        OWN_MESSAGES.. => ErrorKind::Constraint,
        _ if REFUSALS.contains(&class) => ErrorKind::Refused,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use mssql_tds::error::SqlServerDiagnostics;

    use super::*;

    fn server(number: u32, class: i32, message: &str) -> LinkError {
        LinkError(TdsError::SqlServerError {
            diagnostics: SqlServerDiagnostics::new(
                vec![SqlErrorInfo {
                    message: message.into(),
                    state: 1,
                    class,
                    number,
                    server_name: None,
                    proc_name: None,
                    line_number: Some(3),
                }],
                Vec::new(),
            ),
        })
    }

    #[test]
    fn numbers_mean_what_the_caller_does() {
        for (number, class, kind) in [
            (1205, 13, ErrorKind::Transient),
            (3960, 16, ErrorKind::Transient),
            (1222, 16, ErrorKind::Transient),
            (2714, 16, ErrorKind::Transient),
            (40613, 14, ErrorKind::Unavailable),
            (9002, 17, ErrorKind::Exhausted),
            (3966, 17, ErrorKind::Exhausted),
            (208, 16, ErrorKind::NotFound),
            (229, 14, ErrorKind::Denied),
            (2627, 14, ErrorKind::Constraint),
            (547, 16, ErrorKind::Constraint),
            (515, 16, ErrorKind::Constraint),
            (2628, 16, ErrorKind::Data),
            (8115, 16, ErrorKind::Data),
            (3952, 16, ErrorKind::Unsupported),
            (4928, 16, ErrorKind::Refused),
            (40552, 16, ErrorKind::Exhausted),
            (4928, 17, ErrorKind::Internal),
            (50_000, 16, ErrorKind::Constraint),
            (99_999, 16, ErrorKind::Constraint),
            (99_999, 20, ErrorKind::Unavailable),
        ] {
            let error = server(number, class, "m").into_error();
            assert_eq!(error.kind(), kind, "{number}");
            assert!(error.to_string().contains(&format!("error: {number}")), "{error}");
        }
    }

    #[test]
    fn what_a_server_does_not_know_is_told_by_the_number() {
        for (number, unknown) in [
            (102, true),
            (156, true),
            (195, true),
            (325, true),
            (40510, true),
            // The transaction is doomed; a column is already there; too complex.
            (3930, false),
            (4928, false),
            (8623, false),
        ] {
            let error = server(number, 16, "m").into_error().with("error", 0);
            assert_eq!(error.kind(), ErrorKind::Refused, "{number}");
            assert_eq!(is_unknown_to_server(&error), unknown, "{number}");
        }
        assert!(!is_unknown_to_server(&Error::internal("m")));
        for (number, there) in [
            (2705, true),
            (2714, true),
            (2759, true),
            (1205, false),
            (208, false),
        ] {
            let error = server(number, 16, "m").into_error();
            assert_eq!(is_there_already(&error), there, "{number}");
        }
    }

    #[test]
    fn messages_name_constraints_and_columns_but_no_values() {
        for (number, message, told) in [
            (
                2627,
                "Violation of PRIMARY KEY constraint 'PK_T'. Cannot insert duplicate key in object 'dbo.T'. \
                 The duplicate key value is (SECRET, 1).",
                "Violation of PRIMARY KEY constraint 'PK_T'. Cannot insert duplicate key in object 'dbo.T'. \
                 The duplicate key value is …",
            ),
            (
                2601,
                "Cannot insert duplicate key row in object 'dbo.T' with unique index 'once'. The duplicate key value is (SECRET).",
                "Cannot insert duplicate key row in object 'dbo.T' with unique index 'once'. The duplicate key value is …",
            ),
            (
                1505,
                "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.T' and \
                 the index name 'once'. The duplicate key value is (SECRET).",
                "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name 'dbo.T' and \
                 the index name 'once'. The duplicate key value is …",
            ),
            (
                2628,
                "String or binary data would be truncated in table 'd.dbo.T', column 'c'. Truncated value: 'SECRET'.",
                "String or binary data would be truncated in table 'd.dbo.T', column 'c'. Truncated value: …",
            ),
            (
                245,
                "Conversion failed when converting the varchar value 'SECRET' to data type int.",
                "Conversion failed when converting the varchar value …",
            ),
            (
                220,
                "Arithmetic overflow error for data type tinyint, value = 256.",
                "Arithmetic overflow error for data type tinyint, value …",
            ),
            (
                6522,
                "A .NET Framework error occurred during execution of user-defined routine or aggregate \"geography\": \r\n\
                 System.FormatException: 24114: The label SECRET in the input well-known text (WKT) is not valid.",
                "A .NET Framework error occurred during execution of user-defined routine or aggregate \"geography\": …",
            ),
            (
                547,
                "The INSERT statement conflicted with \"FK\".",
                "The INSERT statement conflicted with \"FK\".",
            ),
        ] {
            assert_eq!(server(number, 16, message).into_error().message(), told);
        }
    }

    #[test]
    fn a_missing_right_names_the_grant() {
        let error = server(
            229,
            14,
            "The SELECT permission was denied on the object 'a ]b', database 'd', schema 'dbo'.",
        );
        assert_eq!(
            error.into_error().advice(),
            "GRANT SELECT ON [dbo].[a ]]b] TO [<user>]"
        );
        let error = server(
            300,
            14,
            "VIEW SERVER STATE permission was denied on object 'server', database 'master'.",
        );
        assert_eq!(
            error.into_error().advice(),
            "GRANT VIEW SERVER STATE TO [<login>]"
        );
    }

    #[test]
    fn a_missing_table_is_looked_for_and_a_missing_column_is_not() {
        for (number, advice) in [(208, LOOK_FOR_TABLE), (207, ErrorKind::NotFound.advice())] {
            assert_eq!(server(number, 16, "m").into_error().advice(), advice);
        }
    }

    #[test]
    fn a_failed_login_says_what_to_look_at() {
        for (number, kind, word) in [
            (18456, ErrorKind::Denied, "`password`"),
            (4060, ErrorKind::NotFound, "`database`"),
            (40613, ErrorKind::Unavailable, "reachable"),
        ] {
            let error = server(number, 14, "m").into_connect_error();
            assert_eq!(error.kind(), kind);
            assert!(error.advice().contains(word), "{}", error.advice());
        }
        let tls = LinkError(TdsError::NoServerCertificate).into_connect_error();
        assert_eq!(tls.kind(), ErrorKind::Config);
        for word in [
            "`server_certificate`",
            "`host_name_in_certificate`",
            "`trust_server_certificate",
        ] {
            assert!(tls.advice().contains(word), "{}", tls.advice());
        }
    }
}
