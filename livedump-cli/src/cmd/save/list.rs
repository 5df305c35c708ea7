// SPDX-License-Identifier: BSD-2-Clause
//! `livedump save --list`: every dump that is left on a device.

use super::{Args, Error};
use crate::dumpdev::DumpDev;
use crate::dumpdev::scan::{FoundDump, State};
use crate::outcome::Outcome;
use crate::report::{Report, Table, human, local_time, note};
use crate::signals::Signals;
use livedump_vmcore::path::FilePath;
use serde::Serialize;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// For `--json`. The keys are documented in livedump(8).
#[derive(Debug, Serialize)]
struct DumpList {
    device: FilePath,
    dumps: Vec<FoundDump>,
}

/// Lists them. That there are none is [`Outcome::Finding`].
pub(super) fn list(
    args: &Args,
    device: &DumpDev,
    signals: &Signals,
) -> Result<Outcome, Error> {
    let mut stop = None;
    let dumps = device.scan(|_| {
        stop = signals.stopped();
        match stop {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    if let Some(signal) = stop {
        return Err(Error::Stopped(signal));
    }
    let none = dumps.is_empty();
    let list = DumpList { device: args.device.as_path().into(), dumps };
    if none && !args.quiet {
        note(format_args!("no dump on {}", list.device));
    }
    if args.json || !none {
        list.print(args.json)?;
    }
    Ok(if none { Outcome::Finding } else { Outcome::Clean })
}

impl Report for DumpList {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(&[
            ">OFFSET", ">SIZE", "STATE", "PACKED", "TIME", "HOST", "PANIC",
        ]);
        for dump in &self.dumps {
            table.row(vec![
                dump.offset.to_string(),
                human(dump.dumplength),
                dump.state.text().into(),
                packed(dump),
                local_time(dump.dumptime),
                dump.hostname.clone(),
                dump.panic.clone(),
            ]);
        }
        table.write(out)?;
        let lost = |d: &FoundDump| d.state == State::Overwritten;
        if self.dumps.iter().any(lost) {
            note("another dump begins within one that is overwritten");
        }
        Ok(())
    }
}

fn packed(dump: &FoundDump) -> String {
    let kind = match dump.text {
        true => "text",
        false => dump.compression,
    };
    match dump.encrypted {
        true => format!("{kind}, encrypted"),
        false => kind.into(),
    }
}
