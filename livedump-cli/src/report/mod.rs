// SPDX-License-Identifier: BSD-2-Clause
//! What a command found, as one value: written as text for people or as one
//! JSON object for programs. Keys are stable and documented in livedump(8);
//! sizes are exact numbers, addresses are strings like "0x1000".

mod bt;
pub mod build;
mod deadlock;
mod dmesg;
mod dot;
mod explain;
mod image;
mod info;
mod instant;
mod json;
mod note;
mod picture;
mod print;
mod ps;
mod read;
mod stacks;
mod symbols;
mod table;
mod text;
pub mod thread;
mod time;
mod verify;
mod wrap;

pub use bt::{Bt, BtAll, ThreadStack};
pub use deadlock::{Chain, Cycle, Deadlock, Holder, Last, Wait};
pub use dmesg::{Dmesg, lines, timed};
pub use dot::dot;
pub use explain::Explain;
pub use image::ImageInfo;
pub use info::{Changed, DumpHeader, Info, InfoFile, Memory, Section};
pub use instant::{Instant, milliseconds};
pub use json::{Hex, json_text};
pub use note::{Notes, Priority, Syslog, complain, inform, note, notes_go_to};
pub use picture::{deadlock_svg, explain_svg};
pub use print::{Elements, Json, Print, Printed, Radix};
pub use ps::{Process, Ps, Sort, ThreadRow, sort};
pub use read::{Missing, Read, ReadChanged};
pub use stacks::{StackFrame, StackGroup, StackThread, Stacks};
pub use symbols::{SymbolRow, Symbols};
pub use table::Table;
pub use text::{Hexdump, and_minfree, escape, human};
pub use time::{
    UnknownZone, known_time_zone, local_time, now, prepare_time_zone, show,
    time_zone,
};
pub use verify::{Check, Verify};

use serde::Serialize;
use std::io::{self, Write};

/// Something that can be said in two ways.
pub trait Report: Serialize {
    /// Says it to people.
    ///
    /// # Errors
    /// `out` does not take it.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Says it on standard output.
    ///
    /// # Errors
    /// Standard output does not take it.
    fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        if json {
            json::write(self, &mut out)?;
        } else {
            self.text(&mut out)?;
        }
        out.flush()
    }
}
