// SPDX-License-Identifier: BSD-2-Clause
//! Messages besides the data: on standard error, with the time where
//! the command runs for long, or to syslogd(8).

use super::time::now;
use livedump_vmcore::path::escape_line;
use livedump_vmcore::without_errno;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;

/// The destination of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// Standard error.
    Plain,
    /// Standard error, each with the time.
    Timed,
    /// syslogd(8).
    Syslog,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// LOG_INFO.
    Info,
    /// LOG_WARNING.
    Warning,
    /// LOG_ERR.
    Error,
}

/// Takes a line to syslogd(8).
pub type Syslog = Box<dyn Fn(Priority, &str) + Send + Sync>;

static NOTES: OnceLock<Notes> = OnceLock::new();
static SYSLOG: OnceLock<Syslog> = OnceLock::new();

/// Sets the destination of messages, once.
pub fn notes_go_to(notes: Notes, syslog: Option<Syslog>) {
    if let Some(syslog) = syslog {
        let _ = SYSLOG.set(syslog);
    }
    let _ = NOTES.set(notes);
}

/// Prints a message about the data; a failure is ignored. It is one line,
/// whatever is in it.
pub fn note(text: impl Display) {
    print(Priority::Warning, text);
}

/// The same for what is as it should be.
pub fn inform(text: impl Display) {
    print(Priority::Info, text);
}

/// The same for what failed.
pub fn complain(text: impl Display) {
    print(Priority::Error, text);
}

fn print(priority: Priority, text: impl Display) {
    let line = escape_line(&without_errno(&text.to_string()));
    let notes = NOTES.get().copied().unwrap_or(Notes::Plain);
    match (notes, SYSLOG.get()) {
        (Notes::Syslog, Some(syslog)) => syslog(priority, &line),
        (Notes::Plain, _) => write(&format!("livedump: {line}\n")),
        _ => write(&format!("{} livedump: {line}\n", now())),
    }
}

/// In one call, so that lines of several processes do not mix.
fn write(line: &str) {
    // Standard error may be closed; do not panic.
    let _ = io::stderr().write_all(line.as_bytes());
}
