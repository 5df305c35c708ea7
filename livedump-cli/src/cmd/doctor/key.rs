// SPDX-License-Identifier: BSD-2-Clause
//! Whether dumps that are encrypted for a key can be decrypted: found out
//! before there is one.

use super::{Args, Check};
use crate::ekcd::{Challenge, PrivateKey, PublicKey};
use crate::output::Output;
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::path::escape_path;
use std::path::{Path, PathBuf};

/// Arguments about keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KeyArgs {
    /// Check the public key (PEM) that dumps are to be encrypted for
    #[arg(long, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub encrypt: Option<PathBuf>,
    /// Its private key: check that it opens what the public key encrypts
    #[arg(
        long,
        value_name = "PEM",
        requires = "encrypt",
        value_hint = ValueHint::FilePath
    )]
    pub private_key: Option<PathBuf>,
    /// Write a file for livedump decrypt --challenge, where that key is
    #[arg(
        long,
        value_name = "FILE",
        requires = "encrypt",
        value_hint = ValueHint::FilePath
    )]
    pub challenge: Option<PathBuf>,
}

/// What is to be said about the keys that are named.
pub(super) fn checks(args: &Args) -> Vec<Check> {
    let KeyArgs { encrypt, private_key, challenge } = &args.keys;
    let Some(path) = encrypt else { return Vec::new() };
    let made = PublicKey::read(path)
        .and_then(|public| Ok((Challenge::new(&public)?, public.bits())));
    let (made, bits) = match made {
        Ok(made) => made,
        Err(e) => return vec![Check::fail("encrypt", chain(&e))],
    };
    let name = escape_path(path);
    let text = format!("{name}: RSA of {bits} bits");
    let mut all = vec![Check::ok("encrypt", text)];
    if let Some(private) = private_key {
        all.push(pair(&made, private, path));
    }
    if let Some(file) = challenge {
        all.push(write(&made, file));
    }
    if private_key.is_none() && challenge.is_none() {
        let text = "whether its private key opens dumps was not checked";
        let fix = format!("livedump doctor --encrypt {name} --challenge FILE");
        all.push(Check::warning("key", text).fix(fix));
    }
    all
}

fn pair(made: &Challenge, private: &Path, public: &Path) -> Check {
    let opened = PrivateKey::read(private)
        .and_then(|private| made.answer(&private, public));
    match opened {
        Ok(()) => {
            Check::ok("key", format!("{} opens it", escape_path(private)))
        }
        Err(e) => Check::fail("key", chain(&e)),
    }
}

fn write(made: &Challenge, file: &Path) -> Check {
    let written =
        Output::open_new(file).and_then(|output| output.write(&made.text()));
    let name = escape_path(file);
    match written {
        Ok(()) => {
            let text = format!("{name} was written");
            let fix =
                format!("livedump decrypt -k PRIVATE.pem --challenge {name}");
            Check::ok("challenge", text).fix(fix)
        }
        Err(e) => Check::fail("challenge", chain(&e)),
    }
}
