// SPDX-License-Identifier: BSD-2-Clause
//! `livedump decrypt --challenge`: whether a private key opens what `livedump
//! doctor --encrypt` has wrapped.

use super::Args;
use crate::ekcd::{Challenge, PrivateKey};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{Report, note};
use livedump_vmcore::path::FilePath;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// For `--json`.
#[derive(Debug, Serialize)]
struct Answer {
    challenge: FilePath,
    private_key: FilePath,
    bits: usize,
    opens: bool,
    /// Why it does not.
    reason: Option<String>,
}

/// Checks it. That it does not open is [`Outcome::Finding`].
pub(super) fn run(args: &Args, file: &Path) -> Result<Outcome, Error> {
    let challenge = Challenge::read(file)?;
    let private = PrivateKey::read(&args.private_key)?;
    let reason = challenge.answer(&private, file).err();
    let answer = Answer {
        challenge: file.into(),
        private_key: private.path().into(),
        bits: private.bits(),
        opens: reason.is_none(),
        reason: reason.map(|e| livedump_vmcore::chain(&e)),
    };
    if !args.quiet {
        note(answer.line());
    }
    if args.json {
        answer.print(true)?;
    }
    Ok(if answer.opens { Outcome::Clean } else { Outcome::Finding })
}

impl Answer {
    fn line(&self) -> String {
        let Self { challenge, private_key, bits, reason, .. } = self;
        match reason {
            None => format!(
                "{private_key} opens {challenge}: dumps for its public key, \
                 RSA of {bits} bits, can be decrypted with it"
            ),
            Some(why) => why.clone(),
        }
    }
}

impl Report for Answer {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.line())
    }
}
