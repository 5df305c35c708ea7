// SPDX-License-Identifier: BSD-2-Clause
//! Watches a request in progress: shows the progress, and
//! interrupts it on a signal or when the free space runs out.

use super::progress::Progress;
use crate::device::Device;
use crate::report::note;
use crate::signals::{Event, Signals};
use memdev::ioctl::MemMinidumpStatus;
use memdev::stage::Stage;
use nix::sys::signal::Signal;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Why a request was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The caller cancelled it.
    Signal(Signal),
    /// It has written more bytes than it may.
    Room(u64),
}

/// Does `work`, watched. `budget` is how many bytes it may write; `interrupt`
/// ends what it does besides the request.
pub(super) fn watched<T>(
    device: &dyn Device,
    signals: &mut Signals,
    progress: &mut Progress,
    budget: Option<u64>,
    interrupt: &(dyn Fn() + Sync),
    work: impl FnOnce() -> T,
) -> (T, Option<Stop>) {
    let done = signals.sender();
    let events = signals.events_mut();
    thread::scope(|scope| {
        let eyes =
            scope.spawn(|| poll(device, events, progress, budget, interrupt));
        let result = work();
        // Cannot fail: the receiver is ours until `eyes` has returned.
        let _ = done.send(Event::Done);
        (result, eyes.join().unwrap_or_default())
    })
}

fn poll(
    device: &dyn Device,
    events: &mut Receiver<Event>,
    progress: &mut Progress,
    budget: Option<u64>,
    interrupt: &(dyn Fn() + Sync),
) -> Option<Stop> {
    let started = Instant::now();
    let mut stop = None;
    loop {
        match events.recv_timeout(POLL_INTERVAL) {
            Ok(Event::Done) | Err(RecvTimeoutError::Disconnected) => {
                return stop;
            }
            Ok(Event::Stop(signal)) => {
                if stop.is_none() && device.status().is_err() {
                    note(
                        "waiting for the stock live dump, which cannot be \
                         interrupted",
                    );
                }
                stop = stop.or(Some(Stop::Signal(signal)));
            }
            Ok(Event::Info) => {
                let status = own_status(device);
                progress.line(status.as_ref(), Some(started.elapsed()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let status = own_status(device);
                progress.update(status.as_ref());
                let written = status.map_or(0, |s| s.bytes_out);
                if stop.is_none() && budget.is_some_and(|b| written > b) {
                    stop = Some(Stop::Room(written));
                }
            }
        }
        if stop.is_some() {
            // Repeatedly: the first may have preceded the request
            // had begun to listen.
            device.interrupt();
            interrupt();
        }
    }
}

/// The status, as far as it is about this process's own request.
pub(in crate::cmd) fn own_status(
    device: &dyn Device,
) -> Option<MemMinidumpStatus> {
    let status = device.status().ok()?;
    if status.pid == device.pid() {
        return Some(status);
    }
    // Ours waits for another to end, or has not begun.
    let stage = match status.pid {
        0 => Stage::Idle,
        _ => Stage::Lock,
    };
    Some(MemMinidumpStatus {
        stage: stage as u32,
        ..MemMinidumpStatus::default()
    })
}
