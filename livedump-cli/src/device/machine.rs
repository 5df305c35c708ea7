// SPDX-License-Identifier: BSD-2-Clause
//! `--machine`: the machine to dump.

#![forbid(unsafe_code)]

use crate::quantity;
use livedump_vmcore::image::ranges::Range;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A value of `--machine`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MachineSpec {
    /// The kernel this runs on.
    #[default]
    Kernel,
    /// The built-in model machine.
    Model(ModelSpec),
    /// The memory in an existing dump.
    Vmcore(PathBuf),
    /// The memory in a file, byte for byte.
    Raw(PathBuf),
    /// The memory of a kernel in an image of any format, or in a device.
    Image(PathBuf),
    /// A guest of QEMU, by its monitor's socket.
    Qemu(PathBuf),
    /// A guest of QEMU, by its name in libvirt.
    Libvirt(String),
    /// A guest of bhyve.
    Bhyve {
        /// Its name.
        name: String,
        /// Where its debug stub is, by option.
        gdb: Option<String>,
    },
    /// The memory of another kernel in parts of a device that is read by
    /// physical address.
    Physmem {
        /// The device.
        device: PathBuf,
        /// The parts, by option.
        ranges: Vec<Range>,
    },
}

/// Which model machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ModelSpec {
    /// The default one.
    #[default]
    Default,
    /// The same with this many bytes of memory.
    Size(u64),
    /// A machine that a file describes.
    Recipe(PathBuf),
}

/// Why a value of `--machine` is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No such kind.
    #[error(
        "not kernel, model, model:SIZE, model:RECIPE, vmcore:FILE, \
         image:FILE, raw:FILE, physmem:DEVICE, qemu:SOCKET, \
         libvirt:DOMAIN or bhyve:NAME"
    )]
    Unknown,
    /// A kind that needs a file.
    #[error("{0} requires a file: {0}:FILE")]
    NoFile(&'static str),
    /// A guest without its socket.
    #[error("qemu requires the monitor's socket: qemu:SOCKET")]
    NoSocket,
    /// A guest without its name.
    #[error("libvirt requires the domain's name: libvirt:DOMAIN")]
    NoDomain,
    /// A guest without its name.
    #[error("bhyve requires the guest's name: bhyve:NAME")]
    NoGuest,
    /// Memory without its device.
    #[error("physmem requires a device: physmem:/dev/mem")]
    NoDevice,
    /// A kind that takes no value.
    #[error("kernel takes no value")]
    Kernel,
    /// Not a number of bytes.
    #[error(
        "{0:?} is not a size such as 256M, and the name of a recipe must not \
         start with a digit"
    )]
    Size(String),
    /// Nothing after the colon.
    #[error("model: requires a size or a recipe after the colon")]
    Empty,
}

impl MachineSpec {
    /// As it is named on a command line.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut text = format!("--machine {self}");
        match self {
            Self::Physmem { ranges, .. } => {
                for range in ranges {
                    text.push_str(&format!(" --range {range}"));
                }
            }
            Self::Bhyve { gdb: Some(address), .. } => {
                text.push_str(&format!(" --gdb {address}"));
            }
            _ => {}
        }
        text
    }

    /// Whether it runs, so that it can be stopped; the memory in a file does
    /// not.
    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self, Self::Kernel | Self::Model(_))
    }
}

impl FromStr for MachineSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        let file = |kind| match rest {
            Some(file) if !file.is_empty() => Ok(PathBuf::from(file)),
            _ => Err(SpecError::NoFile(kind)),
        };
        match kind {
            "kernel" => match rest {
                None => Ok(Self::Kernel),
                Some(_) => Err(SpecError::Kernel),
            },
            "model" => model(rest).map(Self::Model),
            "vmcore" => Ok(Self::Vmcore(file("vmcore")?)),
            "raw" => Ok(Self::Raw(file("raw")?)),
            "image" => Ok(Self::Image(file("image")?)),
            "libvirt" => match rest {
                Some(domain) if !domain.is_empty() => {
                    Ok(Self::Libvirt(domain.into()))
                }
                _ => Err(SpecError::NoDomain),
            },
            "bhyve" => match rest {
                Some(name) if !name.is_empty() => {
                    Ok(Self::Bhyve { name: name.into(), gdb: None })
                }
                _ => Err(SpecError::NoGuest),
            },
            "physmem" => match file("physmem") {
                Ok(device) => Ok(Self::Physmem { device, ranges: Vec::new() }),
                Err(_) => Err(SpecError::NoDevice),
            },
            "qemu" => match file("qemu") {
                Ok(socket) => Ok(Self::Qemu(socket)),
                Err(_) => Err(SpecError::NoSocket),
            },
            _ => Err(SpecError::Unknown),
        }
    }
}

fn model(rest: Option<&str>) -> Result<ModelSpec, SpecError> {
    match rest {
        None => Ok(ModelSpec::Default),
        Some("") => Err(SpecError::Empty),
        Some(word) if word.starts_with(|c: char| c.is_ascii_digit()) => {
            let bytes = quantity::size(word);
            bytes.map(ModelSpec::Size).map_err(|_| SpecError::Size(word.into()))
        }
        Some(recipe) => Ok(ModelSpec::Recipe(recipe.into())),
    }
}

impl fmt::Display for MachineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Model(ModelSpec::Default) => f.write_str("model"),
            Self::Model(ModelSpec::Size(bytes)) => {
                let (number, unit) = [(30, "G"), (20, "M"), (10, "K")]
                    .into_iter()
                    .map(|(shift, unit)| (1 << shift, unit))
                    .find(|(power, _)| *bytes > 0 && bytes % power == 0)
                    .map_or((*bytes, ""), |(power, unit)| {
                        (bytes / power, unit)
                    });
                write!(f, "model:{number}{unit}")
            }
            Self::Model(ModelSpec::Recipe(path)) => {
                write!(f, "model:{}", path.display())
            }
            Self::Vmcore(path) => write!(f, "vmcore:{}", path.display()),
            Self::Raw(path) => write!(f, "raw:{}", path.display()),
            Self::Image(path) => write!(f, "image:{}", path.display()),
            Self::Qemu(path) => write!(f, "qemu:{}", path.display()),
            Self::Libvirt(domain) => write!(f, "libvirt:{domain}"),
            Self::Bhyve { name, .. } => write!(f, "bhyve:{name}"),
            Self::Physmem { device, .. } => {
                write!(f, "physmem:{}", device.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_machine_is_understood() {
        for (text, want) in [
            ("kernel", MachineSpec::Kernel),
            ("model", MachineSpec::Model(ModelSpec::Default)),
            ("model:256M", MachineSpec::Model(ModelSpec::Size(256 << 20))),
            ("model:4096", MachineSpec::Model(ModelSpec::Size(4096))),
            ("model:2g", MachineSpec::Model(ModelSpec::Size(2 << 30))),
            (
                "model:a/b:c",
                MachineSpec::Model(ModelSpec::Recipe("a/b:c".into())),
            ),
            ("vmcore:/x/y", MachineSpec::Vmcore("/x/y".into())),
            ("raw:mem", MachineSpec::Raw("mem".into())),
            ("qemu:/run/q", MachineSpec::Qemu("/run/q".into())),
            (
                "physmem:/dev/mem",
                MachineSpec::Physmem {
                    device: "/dev/mem".into(),
                    ranges: Vec::new(),
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_machine_is_named() {
        for (text, word) in [
            ("", "vmcore:FILE"),
            ("modle", "not kernel, "),
            ("Model", "not kernel, "),
            ("kernel:0", "no value"),
            ("vmcore", "vmcore:FILE"),
            ("image:", "image:FILE"),
            ("raw:", "raw:FILE"),
            ("qemu:", "qemu:SOCKET"),
            ("libvirt:", "libvirt:DOMAIN"),
            ("bhyve", "bhyve:NAME"),
            ("physmem", "physmem:/dev/mem"),
            ("physmem:", "physmem:/dev/mem"),
            ("model:", "model:"),
            ("model:12Q", "\"12Q\""),
            ("model:1M2", "\"1M2\""),
            ("model:99999999999999999999", "\"99999999999999999999\""),
            ("model:16777216T", "\"16777216T\""),
        ] {
            let e = text.parse::<MachineSpec>().unwrap_err().to_string();
            assert!(e.contains(word), "{text}: {e}");
        }
    }

    #[test]
    fn options_are_shown_with_the_machine() {
        let range = Range { start: 0x2000, end: 0x3000, address: 0 };
        let physmem = MachineSpec::Physmem {
            device: "/dev/mem".into(),
            ranges: vec![range, Range { address: 0x2000, ..range }],
        };
        assert_eq!(
            physmem.arguments(),
            "--machine physmem:/dev/mem --range 0x2000-0x3000@0x0 --range \
             0x2000-0x3000"
        );
        let model: MachineSpec = "model".parse().unwrap();
        assert_eq!(model.arguments(), "--machine model");
    }

    #[test]
    fn a_machine_is_shown_as_it_is_named() {
        for text in [
            "kernel",
            "model",
            "model:256M",
            "model:3G",
            "model:1000",
            "model:0",
            "model:x.recipe",
            "vmcore:a",
            "raw:b",
            "qemu:c",
            "libvirt:a domain",
            "bhyve:guest",
            "physmem:/dev/mem",
        ] {
            let spec: MachineSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
    }
}
