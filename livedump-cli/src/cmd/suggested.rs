// SPDX-License-Identifier: BSD-2-Clause
//! Values that a shell completes for an option that accepts others as well.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};
use std::error::Error as StdError;
use std::ffi::OsStr;
use std::str::FromStr;

/// For `--machine`.
pub(crate) const MACHINES: &[&str] = &[
    "kernel", "model", "model:", "vmcore:", "image:", "raw:", "physmem:",
    "qemu:", "libvirt:", "bhyve:",
];

/// For `--at`.
pub(super) const TIMES: &[&str] = &["@hourly", "@daily", "@weekly", "@monthly"];

/// A parser of `T` that lists these values for completion. It accepts
/// whatever `T` parses.
pub(super) fn values<T>(
    values: &'static [&'static str],
) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: Into<Box<dyn StdError + Send + Sync>>,
{
    let inner = StringValueParser::new().try_map(|text| text.parse::<T>());
    Suggested { inner, values }
}

#[derive(Clone)]
struct Suggested<P> {
    inner: P,
    values: &'static [&'static str],
}

impl<P: TypedValueParser> TypedValueParser for Suggested<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<P::Value, Error> {
        self.inner.parse_ref(command, arg, value)
    }

    fn possible_values(
        &self,
    ) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().map(PossibleValue::new)))
    }
}
