// SPDX-License-Identifier: BSD-2-Clause
//! Signals as events. They are blocked in every thread and taken by one that
//! waits for them, so no code runs in a handler and no call is interrupted
//! that is not meant to be.

#[cfg(any(target_os = "freebsd", target_os = "macos"))]
use crate::device::catch;
use crate::device::is_ignored;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Events for a thread that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Stop, cleanly: SIGINT, SIGTERM, SIGHUP.
    Stop(Signal),
    /// Print the progress: SIGUSR1, and SIGINFO where it exists.
    Info,
    /// What was watched is over.
    Done,
}

/// The two ends of the event channel.
#[derive(Debug)]
pub struct Signals {
    events: Receiver<Event>,
    sender: Sender<Event>,
    waiter: Option<JoinHandle<()>>,
    quit: Arc<AtomicBool>,
    before: Option<SigSet>,
}

impl Signals {
    /// Takes the signals from now on, for this thread and those it starts.
    #[must_use]
    pub fn take() -> Self {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // nohup(1) is respected.
            if !is_ignored(signal) {
                set.add(signal);
            }
        }
        set.add(Signal::SIGUSR1);
        #[cfg(any(target_os = "freebsd", target_os = "macos"))]
        {
            set.add(Signal::SIGINFO);
            catch(Signal::SIGINFO);
        }

        let (sender, events) = channel();
        let quit = Arc::new(AtomicBool::new(false));
        let mut blocked = set;
        // Where a file must not grow any more, the write fails.
        blocked.add(Signal::SIGXFSZ);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok();
        let waiter = {
            let (sender, quit) = (sender.clone(), Arc::clone(&quit));
            std::thread::spawn(move || wait(set, &sender, &quit))
        };
        Self { events, sender, waiter: Some(waiter), quit, before }
    }

    /// What has happened and is not taken yet.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The same for a thread of its own.
    pub fn events_mut(&mut self) -> &mut Receiver<Event> {
        &mut self.events
    }

    /// The receiver of events.
    #[must_use]
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The first signal to stop that has arrived, if one has.
    #[must_use]
    pub fn stopped(&self) -> Option<Signal> {
        self.events.try_iter().find_map(|event| match event {
            Event::Stop(signal) => Some(signal),
            _ => None,
        })
    }

    /// Gives the signals back: from now on they end the process, for a caller
    /// that leaves nothing behind and may be blocked in a call. The first one
    /// to stop that has arrived.
    #[must_use]
    pub fn release(mut self) -> Option<Signal> {
        self.give_back();
        self.stopped()
    }

    fn give_back(&mut self) {
        self.quit.store(true, Ordering::SeqCst);
        if let Some(waiter) = self.waiter.take() {
            let woken =
                pthread_kill(waiter.as_pthread_t() as _, Signal::SIGUSR1);
            if woken.is_ok() {
                let _ = waiter.join();
            }
        }
        if let Some(mut before) = self.before.take() {
            // One may be pending.
            before.add(Signal::SIGXFSZ);
            let _ = before.thread_set_mask();
        }
    }
}

fn wait(set: SigSet, sender: &Sender<Event>, quit: &AtomicBool) {
    while let Ok(signal) = set.wait() {
        if quit.load(Ordering::SeqCst) {
            return;
        }
        let event = match signal {
            Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP => {
                Event::Stop(signal)
            }
            _ => Event::Info,
        };
        if sender.send(event).is_err() {
            return;
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn signals_arrive_as_events_and_the_mask_is_given_back() {
        let before = SigSet::thread_get_mask().unwrap();
        {
            let signals = Signals::take();
            let us = nix::sys::pthread::pthread_self();
            pthread_kill(us, Signal::SIGUSR1).unwrap();
            // One that is sent to this thread alone stays here; one sent to
            // the process is delivered to the waiting thread.
            let waiter = signals.waiter.as_ref().unwrap().as_pthread_t();
            pthread_kill(waiter as _, Signal::SIGTERM).unwrap();
            let event = signals.events().recv_timeout(Duration::from_secs(10));
            assert_eq!(event, Ok(Event::Stop(Signal::SIGTERM)));
            let mut info = SigSet::empty();
            info.add(Signal::SIGUSR1);
            assert_eq!(info.wait(), Ok(Signal::SIGUSR1));
            assert_eq!(signals.stopped(), None);
        }
        let after = SigSet::thread_get_mask().unwrap();
        assert_eq!(
            before.contains(Signal::SIGTERM),
            after.contains(Signal::SIGTERM)
        );
    }
}
