// SPDX-License-Identifier: BSD-2-Clause
//! Looking at one page of a compressed dump, and checking all of it.

use crate::Result;
use crate::jobs::{Group, Place, Seal, What, ours, tool};
use crate::size::megabytes;
use crate::table::{Run, median};
use crate::timed::{Job, remove};
use livedump_hosted::raw::RAM_START;
use std::ffi::OsString;

pub fn run(place: &Place<'_>, runs: u32) -> Result<()> {
    let What::Program(capture) = ours(place, Group::Zstd, Seal::None)?.what
    else {
        return Ok(());
    };
    capture.run()?;
    let Some(dump) = capture.output else { return Ok(()) };
    let size = place.image.metadata()?.len();
    let at = format!("{:#x}", RAM_START + size / 4 * 3);
    let words = |words: &[&str]| -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    };
    let with_dump = |mut command: Vec<OsString>, rest: &[&str]| {
        command.push(dump.clone().into());
        command.extend(words(rest));
        command
    };
    let ours = |options: &[&str]| -> Result<Vec<OsString>> {
        let mut command = tool()?;
        command.extend(words(options));
        Ok(command)
    };
    let rows = [
        (
            "livedump read --phys, 8 bytes of the .zst",
            with_dump(ours(&["read", "--phys"])?, &[&at, "8"]),
        ),
        ("zstd -d of all of it", with_dump(words(&["zstd", "-dqc"]), &[])),
        ("zstd -t", with_dump(words(&["zstd", "-tq"]), &[])),
    ];
    println!("\n| | ms | CPU ms | peak MB |\n|---|---:|---:|---:|");
    for (name, command) in rows {
        let pipes = name.contains("-d of");
        let output = pipes.then(|| place.directory.join("out"));
        let job = Job { command, pipes, output };
        let mut all = Vec::new();
        for _ in 0..runs {
            match job.run() {
                Ok(took) => all.push(Run { took, bytes: 0 }),
                Err(e) => {
                    eprintln!("{name}: {e}");
                    break;
                }
            }
        }
        if let Some(output) = &job.output {
            remove(output)?;
        }
        match median(&all) {
            None => println!("| {name} | not measured | | |"),
            Some(Run { took, .. }) => println!(
                "| {name} | {:.1} | {:.1} | {:.1} |",
                took.wall.as_secs_f64() * 1e3,
                took.cpu.as_secs_f64() * 1e3,
                megabytes(took.memory),
            ),
        }
    }
    Ok(())
}
