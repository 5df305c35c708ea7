// SPDX-License-Identifier: BSD-2-Clause
//! Every call through the KPI is a numbered step. A script makes one of them
//! fail, or runs a closure just before it; without a script a step is three
//! atomic operations. The last steps are kept for the message of a failed
//! test.

use super::machine::Machine;
use livedump_kmod::error::{Errno, Result};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

pub use super::method::Method;

enum Trigger {
    Step(u64),
    Call(Method, u64),
}

enum Action {
    Fail(Option<Errno>),
    Run(Box<dyn FnOnce() + Send>),
}

/// What shall happen at which step. Steps, and the calls of one method, count
/// from 1 at the moment the script is installed.
#[derive(Default)]
pub struct Script {
    rules: Vec<(Trigger, Action)>,
}

impl Script {
    /// A script in which nothing happens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rule(mut self, trigger: Trigger, action: Action) -> Self {
        self.rules.push((trigger, action));
        self
    }

    /// Step `n` fails, if its method can, with the method's usual errno.
    #[must_use]
    pub fn fail_step(self, n: u64) -> Self {
        self.rule(Trigger::Step(n), Action::Fail(None))
    }

    /// Step `n` fails, if its method can, with `errno`.
    #[must_use]
    pub fn fail_step_with(self, n: u64, errno: Errno) -> Self {
        self.rule(Trigger::Step(n), Action::Fail(Some(errno)))
    }

    /// The `nth` call of `method` fails, if it can, with `errno`.
    #[must_use]
    pub fn fail_call(self, method: Method, nth: u64, errno: Errno) -> Self {
        self.rule(Trigger::Call(method, nth), Action::Fail(Some(errno)))
    }

    /// Runs `f` before step `n`, on the thread that makes the call.
    #[must_use]
    pub fn at_step(self, n: u64, f: impl FnOnce() + Send + 'static) -> Self {
        self.rule(Trigger::Step(n), Action::Run(Box::new(f)))
    }

    /// Runs `f` before the `nth` call of `method`.
    #[must_use]
    pub fn at_call(
        self,
        method: Method,
        nth: u64,
        f: impl FnOnce() + Send + 'static,
    ) -> Self {
        self.rule(Trigger::Call(method, nth), Action::Run(Box::new(f)))
    }
}

struct ActiveScript {
    rules: Vec<(Trigger, Action)>,
    steps: u64,
    calls: [u64; Method::ALL.len()],
}

const RECENT: usize = 64;
const NONE: u8 = u8::MAX;

/// The step counter, and the script in force.
pub struct Faults {
    steps: AtomicU64,
    calls: [AtomicU64; Method::ALL.len()],
    recent: [AtomicU8; RECENT],
    armed: AtomicBool,
    active: Mutex<Option<ActiveScript>>,
    failed: Mutex<Vec<(u64, Method)>>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            steps: AtomicU64::new(0),
            calls: [const { AtomicU64::new(0) }; Method::ALL.len()],
            recent: [const { AtomicU8::new(NONE) }; RECENT],
            armed: AtomicBool::new(false),
            active: Mutex::new(None),
            failed: Mutex::new(Vec::new()),
        }
    }

    /// Installs a script in place of any other; its steps count from here.
    pub fn install_script(&self, script: Script) {
        self.failed.lock().clear();
        let mut active = self.active.lock();
        self.armed.store(!script.rules.is_empty(), Ordering::Release);
        *active = Some(ActiveScript {
            rules: script.rules,
            steps: 0,
            calls: [0; Method::ALL.len()],
        });
    }

    /// Takes the script away.
    pub fn stop(&self) {
        self.armed.store(false, Ordering::Release);
        *self.active.lock() = None;
    }

    /// Steps since the kernel was made.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Calls of one method since the kernel was made.
    pub fn calls(&self, method: Method) -> u64 {
        self.calls.get(method as usize).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    /// The calls that the script in force has made fail: step (counted as the
    /// script counts) and method.
    pub fn failed(&self) -> Vec<(u64, Method)> {
        self.failed.lock().clone()
    }

    /// The last steps, oldest first.
    pub fn recent(&self) -> Vec<Method> {
        let steps = self.steps();
        (steps.saturating_sub(RECENT as u64)..steps)
            .filter_map(|n| {
                let id = self.recent.get(n as usize % RECENT)?;
                let id = id.load(Ordering::Relaxed);
                Method::ALL.get(usize::from(id)).copied()
            })
            .collect()
    }

    /// One call: counts it, tells the machine, and plays the script.
    #[inline]
    pub(super) fn step(
        &self,
        method: Method,
        machine: &dyn Machine,
    ) -> Result<()> {
        let n = self.steps.fetch_add(1, Ordering::Relaxed);
        if let Some(calls) = self.calls.get(method as usize) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(recent) = self.recent.get(n as usize % RECENT) {
            recent.store(method as u8, Ordering::Relaxed);
        }
        if let Some(machine) = machine.running() {
            machine.step(n + 1);
        }
        if self.armed.load(Ordering::Acquire) {
            return self.scripted(method);
        }
        Ok(())
    }

    #[cold]
    fn scripted(&self, method: Method) -> Result<()> {
        let mut actions = Vec::new();
        let mut step = 0;
        if let Some(active) = self.active.lock().as_mut() {
            active.steps += 1;
            step = active.steps;
            let mut nth = 0;
            if let Some(calls) = active.calls.get_mut(method as usize) {
                *calls += 1;
                nth = *calls;
            }
            let now = |trigger: &Trigger| match *trigger {
                Trigger::Step(n) => n == step,
                Trigger::Call(m, n) => m == method && n == nth,
            };
            actions.extend(
                active
                    .rules
                    .extract_if(.., |(trigger, _)| now(trigger))
                    .map(|(_, action)| action),
            );
        }
        // Closures run without the lock: they may look at this very object.
        let mut result = Ok(());
        for action in actions {
            match (action, method.errno()) {
                (Action::Run(f), _) => f(),
                (Action::Fail(errno), Some(usual)) => {
                    self.failed.lock().push((step, method));
                    result = Err(errno.unwrap_or(usual));
                }
                (Action::Fail(_), None) => {}
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::RawMachine;
    use super::*;
    use std::sync::Arc;

    fn faults() -> (Faults, RawMachine) {
        (Faults::new(), RawMachine::zeroed(4096).unwrap())
    }

    #[test]
    fn steps_count_from_the_script_and_fail_once() {
        let (f, m) = faults();
        f.step(Method::SigIntr, &m).unwrap();
        f.install_script(Script::new().fail_step(2));
        assert_eq!(f.step(Method::SigIntr, &m), Ok(()));
        assert_eq!(f.step(Method::VnWrite, &m), Err(Errno::ENOSPC));
        assert_eq!(f.step(Method::VnWrite, &m), Ok(()));
        assert_eq!(f.failed(), [(2, Method::VnWrite)]);
        assert_eq!((f.steps(), f.calls(Method::VnWrite)), (4, 2));
    }

    #[test]
    fn the_nth_call_of_a_method_fails_with_the_errno_named() {
        let (f, m) = faults();
        f.install_script(Script::new().fail_call(
            Method::VnWrite,
            2,
            Errno::EDQUOT,
        ));
        assert_eq!(f.step(Method::VnWrite, &m), Ok(()));
        assert_eq!(f.step(Method::SigIntr, &m), Ok(()));
        assert_eq!(f.step(Method::VnWrite, &m), Err(Errno::EDQUOT));
        f.install_script(Script::new().fail_step(1));
        f.stop();
        assert_eq!(f.step(Method::VnWrite, &m), Ok(()));
    }

    #[test]
    fn what_cannot_fail_does_not() {
        let (f, m) = faults();
        f.install_script(Script::new().fail_step_with(1, Errno::EIO));
        assert_eq!(f.step(Method::Target, &m), Ok(()));
        assert!(f.failed().is_empty());
    }

    #[test]
    fn a_closure_runs_at_its_step_and_may_look_at_the_faults() {
        let (f, m) = faults();
        let f = Arc::new(f);
        let seen = Arc::new(AtomicU64::new(0));
        let (inner, out) = (Arc::clone(&f), Arc::clone(&seen));
        f.install_script(Script::new().at_call(Method::Pid, 1, move || {
            out.store(inner.failed().len() as u64 + 7, Ordering::Relaxed);
            inner.stop();
        }));
        f.step(Method::SigIntr, &m).unwrap();
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        f.step(Method::Pid, &m).unwrap();
        assert_eq!(seen.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn the_last_steps_are_remembered_in_order() {
        let (f, m) = faults();
        assert!(f.recent().is_empty());
        for _ in 0..100 {
            f.step(Method::ReadPage, &m).unwrap();
        }
        f.step(Method::VnWrite, &m).unwrap();
        let recent = f.recent();
        assert_eq!(recent.len(), RECENT);
        assert_eq!(recent[RECENT - 2..], [Method::ReadPage, Method::VnWrite]);
        assert_eq!(Method::VnWrite.name(), "vn_write");
    }
}
