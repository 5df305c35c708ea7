// SPDX-License-Identifier: BSD-2-Clause
//! What `--machine` needs besides its name, of the commands that have it.

use crate::device::{MachineSpec, OpenError};
use crate::quantity::{self, QuantityError};
use clap::ValueHint;
use livedump_vmcore::image::ranges::Range;

/// Options of one kind of machine each.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MachineOptions {
    /// Memory of physmem: START-END[@ADDRESS]
    #[arg(
        long = "range",
        value_name = "RANGE",
        value_parser = range,
        value_hint = ValueHint::Other
    )]
    pub ranges: Vec<Range>,
    /// Debug stub that pauses a guest of bhyve
    #[arg(
        long,
        value_name = "ADDRESS",
        value_parser = stub,
        value_hint = ValueHint::Other
    )]
    pub gdb: Option<String>,
}

impl MachineOptions {
    /// The machine with these options.
    ///
    /// # Errors
    /// It does not take them.
    pub fn apply(
        &self,
        machine: &MachineSpec,
    ) -> Result<MachineSpec, OpenError> {
        let mut machine = machine.clone();
        let mut unused = (!self.ranges.is_empty(), self.gdb.is_some());
        match &mut machine {
            MachineSpec::Physmem { ranges, .. } => {
                ranges.clone_from(&self.ranges);
                unused.0 = false;
            }
            MachineSpec::Bhyve { gdb, .. } => {
                gdb.clone_from(&self.gdb);
                unused.1 = false;
            }
            _ => {}
        }
        let why = match unused {
            (false, false) => return Ok(machine),
            (true, _) => "--range requires --machine physmem:DEVICE",
            (false, true) => "--gdb requires --machine bhyve:NAME",
        };
        let machine = machine.to_string();
        Err(OpenError::Hosted { machine, source: why.into() })
    }
}

/// `127.0.0.1:1234`
fn stub(word: &str) -> Result<String, String> {
    let port = word.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(1..) => Ok(word.into()),
        _ => Err("not ADDRESS:PORT, such as 127.0.0.1:1234".into()),
    }
}

/// `512M-768M@0`: positions in the device, and the address of the first one
/// where that is another.
fn range(word: &str) -> Result<Range, QuantityError> {
    let bad = || QuantityError::Range(word.into());
    let (place, address) = match word.split_once('@') {
        Some((place, address)) => (place, Some(address)),
        None => (word, None),
    };
    let (start, end) = place.split_once('-').ok_or_else(bad)?;
    let start = quantity::address(start)?;
    let end = quantity::address(end)?;
    let address = address.map_or(Ok(start), quantity::address)?;
    Ok(Range { start, end, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_address_if_that_is_another() {
        let (start, end) = (0x2000_0000, 0x3000_0000);
        for (word, address) in [
            ("0x20000000-0x30000000", start),
            ("512M-768M", start),
            ("512M-0x30000000@0", 0),
            ("512M-768M@4G", 4 << 30),
        ] {
            let want = Range { start, end, address };
            assert_eq!(range(word), Ok(want), "{word}");
        }
        for (word, named) in [
            ("512M", "\"512M\""),
            ("512M-", "\"\""),
            ("-512M", "\"\""),
            ("1M-2M-3M", "\"2M-3M\""),
            ("1M-2M@", "\"\""),
            ("1M-2X", "\"2X\""),
            ("0x1g-2M", "\"0x1g\""),
        ] {
            let e = range(word).unwrap_err().to_string();
            assert!(e.contains(named), "{word}: {e}");
        }
    }

    #[test]
    fn only_memory_by_address_takes_ranges() {
        let ranges = vec![range("1M-2M").unwrap()];
        let options = MachineOptions { ranges, gdb: None };
        let apply = |text: &str| options.apply(&text.parse().unwrap());
        let MachineSpec::Physmem { ranges, .. } =
            apply("physmem:/dev/mem").unwrap()
        else {
            panic!("not physmem");
        };
        assert_eq!(ranges, options.ranges);
        for text in ["kernel", "model", "image:x", "qemu:x"] {
            let e = livedump_vmcore::chain(&apply(text).unwrap_err());
            assert!(e.contains(text) && e.contains("physmem:DEVICE"), "{e}");
        }
    }

    #[test]
    fn only_bhyve_has_a_debug_stub_by_option() {
        for word in ["localhost:1234", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(stub(word).as_deref(), Ok(word));
        }
        for word in ["1234", ":1234", "host", "host:", "host:0", "host:65536"] {
            assert!(stub(word).is_err(), "{word}");
        }
        let gdb = Some("localhost:1".to_owned());
        let options = MachineOptions { ranges: Vec::new(), gdb: gdb.clone() };
        let apply = |text: &str| options.apply(&text.parse().unwrap());
        let want = MachineSpec::Bhyve { name: "guest".into(), gdb };
        assert_eq!(apply("bhyve:guest").unwrap(), want);
        let e = livedump_vmcore::chain(&apply("qemu:x").unwrap_err());
        assert!(e.contains("bhyve:NAME"), "{e}");
    }
}
