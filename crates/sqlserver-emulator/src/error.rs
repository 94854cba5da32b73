//! Errors and messages as a client sees them: number, class, state, text, line.

use std::fmt;

/// What a statement or an evaluation ends with when it fails.
pub type SqlResult<T> = Result<T, SqlError>;

/// An error (class 11 and above) or an informational message (class 10 and below).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// The message number, 2627 for example.
    pub number: i32,
    /// The severity.
    pub class: u8,
    /// Where in the server it was raised.
    pub state: u8,
    /// The text.
    pub message: String,
    /// The line within the batch or procedure; 0 until the statement that failed is known.
    pub line: u32,
    /// The procedure or trigger, empty for a batch.
    pub procedure: String,
}

impl SqlError {
    /// An error of the given number, class and state.
    pub fn new(number: i32, class: u8, state: u8, message: impl Into<String>) -> Self {
        Self {
            number,
            class,
            state,
            message: message.into(),
            line: 0,
            procedure: String::new(),
        }
    }

    /// The commonest shape: class 16, state 1.
    pub fn user(number: i32, message: impl Into<String>) -> Self {
        Self::new(number, 16, 1, message)
    }

    /// Something that SQL Server can do and this emulator cannot. A client must never mistake it for a real error number, nor for what
    /// T-SQL throws, from 50000 on.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(48_999, 16, 1, format!("The emulator does not support {what}."))
    }

    /// An informational message, as PRINT and low-severity RAISERROR send.
    pub fn info(message: impl Into<String>) -> Self {
        Self::new(0, 0, 1, message)
    }

    /// True for class 10 and below.
    pub fn is_info(&self) -> bool {
        self.class <= 10
    }

    /// True from class 20 on: the server closes the connection after it.
    pub fn is_fatal(&self) -> bool {
        self.class >= 20
    }

    /// The same error at `line`, unless it already has one.
    pub fn at_line(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Msg {}, Level {}, State {}, Line {}: {}",
            self.number, self.class, self.state, self.line, self.message
        )
    }
}

impl std::error::Error for SqlError {}
