// SPDX-License-Identifier: BSD-2-Clause
//! Where libvirt has the monitor of a domain that runs: in a directory of the
//! domain's id and the first letters of its name. libvirt: `libDir` of
//! qemu_conf.c, `virDomainDefGetShortName`.

use super::{Guest, QemuError, QmpError};
use livedump_vmcore::path::escape_path;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of the system's daemon.
const SYSTEM: &str = "/var/lib/libvirt/qemu";
/// Letters of a name that are in the directory's. libvirt:
/// VIR_DOMAIN_SHORT_NAME_MAX.
const SHORT: usize = 20;
/// The socket in it.
const SOCKET: &str = "monitor.sock";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtError {
    /// No domain of that name runs here.
    #[error(
        "no domain {domain} of libvirt runs here: no domain-ID-{short}/\
         {SOCKET} in {looked}"
    )]
    None {
        /// As it was named.
        domain: String,
        /// As it would be in the directory's name.
        short: String,
        /// Where.
        looked: String,
    },
    /// It may be there.
    #[error("looking for domain {domain} in {directory}")]
    Unread {
        /// As it was named.
        domain: String,
        /// Which cannot be read.
        directory: String,
        /// Why.
        source: io::Error,
    },
    /// More than one has the same first letters, or runs.
    #[error(
        "domain {domain}: several monitors, name one as qemu:SOCKET: {sockets}"
    )]
    Several {
        /// As it was named.
        domain: String,
        /// Their sockets.
        sockets: String,
    },
    /// libvirtd is connected to it.
    #[error(
        "domain {domain}: libvirtd holds its monitor {socket}, and QEMU \
         answers one client at a time: use virsh dump --memory-only {domain} \
         FILE, then --machine image:FILE; or give the domain a second \
         monitor, -qmp unix:SOCKET,server=on,wait=off by qemu:commandline, \
         and use qemu:SOCKET"
    )]
    Held {
        /// As it was named.
        domain: String,
        /// Its socket.
        socket: String,
        /// What QEMU did not answer.
        source: QmpError,
    },
}

/// Why there is no guest.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// libvirt's.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
    /// QEMU's.
    #[error(transparent)]
    Qemu(#[from] QemuError),
}

/// Where libvirt's daemons have the domains: the system's, and the user's.
#[must_use]
pub fn roots() -> Vec<PathBuf> {
    let absolute = |name| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".config")));
    let session = config.map(|config| config.join("libvirt/qemu/lib"));
    [SYSTEM.into()].into_iter().chain(session).collect()
}

/// The monitor's socket of a domain.
///
/// # Errors
/// None is there, or more than one.
pub fn socket(
    domain: &str,
    roots: &[PathBuf],
) -> Result<PathBuf, LibvirtError> {
    let short: String = domain.chars().take(SHORT).collect();
    let mut found = Vec::new();
    let mut unread = None;
    for root in roots {
        match sockets(root, &short) {
            Ok(sockets) => found.extend(sockets),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => unread = unread.or(Some((root, e))),
        }
    }
    found.sort();
    let domain = domain.to_owned();
    let list = |paths: &[PathBuf]| {
        let names: Vec<_> = paths.iter().map(|p| escape_path(p)).collect();
        names.join(", ")
    };
    match (found.len(), unread) {
        (1, _) => Ok(found.remove(0)),
        (0, Some((root, source))) => {
            let directory = escape_path(root);
            Err(LibvirtError::Unread { domain, directory, source })
        }
        (0, None) => {
            let looked = list(roots);
            Err(LibvirtError::None { domain, short, looked })
        }
        _ => {
            let sockets = list(&found);
            Err(LibvirtError::Several { domain, sockets })
        }
    }
}

/// Connects to the monitor of a domain.
///
/// # Errors
/// None is there, or it cannot be had.
pub fn connect(domain: &str) -> Result<Guest, ConnectError> {
    connect_within(domain, &roots(), super::PATIENCE)
}

fn connect_within(
    domain: &str,
    roots: &[PathBuf],
    timeout: Duration,
) -> Result<Guest, ConnectError> {
    let socket = socket(domain, roots)?;
    match Guest::connect_within(&socket, timeout) {
        Err(QemuError::Qmp(source @ QmpError::Silent { .. })) => {
            let (domain, socket) = (domain.to_owned(), escape_path(&socket));
            Err(LibvirtError::Held { domain, socket, source }.into())
        }
        guest => Ok(guest?),
    }
}

/// Those of domains whose names start with `short`, if that is as long as
/// names may be, or are that.
fn sockets(root: &Path, short: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if is_of(&entry.file_name(), short) {
            let socket = entry.path().join(SOCKET);
            if std::fs::symlink_metadata(&socket).is_ok() {
                found.push(socket);
            }
        }
    }
    Ok(found)
}

/// domain-ID-NAME
fn is_of(directory: &OsStr, short: &str) -> bool {
    let name = directory.to_str().and_then(|it| it.strip_prefix("domain-"));
    let Some((id, name)) = name.and_then(|it| it.split_once('-')) else {
        return false;
    };
    let digits = |c: char| c.is_ascii_digit();
    !id.is_empty() && id.chars().all(digits) && name == short
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_vmcore::chain;
    use std::os::unix::net::UnixListener;

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let tmp = tempfile::tempdir().unwrap();
        for name in names {
            let path = tmp.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(SOCKET), "").unwrap();
        }
        tmp
    }

    #[test]
    fn a_domain_is_found_by_its_name_or_the_first_letters_of_it() {
        let long = "a-very-long-name-of-a-domain";
        let system = tree(&[
            "domain-1-web",
            "domain-12-web-2",
            "domain-3-a-very-long-name-of-",
            "domain-x-odd",
            "snapshot",
            "domain-7-7-seven",
        ]);
        let session = tree(&["domain-2-mine", "domain-5-web-2"]);
        std::fs::create_dir(session.path().join("domain-4-gone")).unwrap();
        let missing = PathBuf::from("/nonexistent/libvirt");
        let roots =
            [system.path().into(), missing, session.path().to_path_buf()];
        for (domain, root, directory) in [
            ("web", &system, "domain-1-web"),
            (long, &system, "domain-3-a-very-long-name-of-"),
            ("mine", &session, "domain-2-mine"),
            ("7-seven", &system, "domain-7-7-seven"),
        ] {
            let want = root.path().join(directory).join(SOCKET);
            assert_eq!(socket(domain, &roots).unwrap(), want, "{domain}");
        }
        for domain in ["we", "odd", "gone", "seven", "", "snapshot", "../web"] {
            let e = socket(domain, &roots).unwrap_err().to_string();
            let place = escape_path(system.path());
            assert!(e.contains(&place) && e.contains(domain), "{e}");
            assert!(e.contains("/nonexistent/libvirt"), "{e}");
        }
        let e = socket("web-2", &roots).unwrap_err().to_string();
        for name in ["domain-12-web-2", "domain-5-web-2", "qemu:SOCKET"] {
            assert!(e.contains(name), "{e}");
        }
    }

    #[test]
    fn that_libvirtd_holds_the_monitor_is_told_and_what_works() {
        let tmp = tempfile::tempdir().unwrap();
        let directory = tmp.path().join("domain-1-web");
        std::fs::create_dir(&directory).unwrap();
        // QEMU accepts a second client when the first one has left.
        let listener = UnixListener::bind(directory.join(SOCKET)).unwrap();
        let roots = [tmp.path().to_path_buf()];
        let short = Duration::from_millis(200);
        let e = connect_within("web", &roots, short).unwrap_err();
        let e = chain(&e);
        for told in
            ["libvirtd holds", "virsh dump --memory-only web", "commandline"]
        {
            assert!(e.contains(told), "{e}");
        }
        // That nothing listens there is something else.
        drop(listener);
        let e = connect_within("web", &roots, short).unwrap_err();
        assert!(!chain(&e).contains("libvirtd"), "{e}");
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_named() {
        let tmp = tree(&[]);
        let file = tmp.path().join("file");
        std::fs::write(&file, "").unwrap();
        let e = socket("web", &[file]).unwrap_err();
        let e = chain(&e);
        assert!(e.starts_with("looking for domain web in /"), "{e}");
        assert!(e.contains("/file: "), "{e}");
    }
}
