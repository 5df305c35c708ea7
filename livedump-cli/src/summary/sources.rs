// SPDX-License-Identifier: BSD-2-Clause
//! What all sections are made from. What more than one of them needs is read
//! once, here.

use super::Absent;
use crate::analysis::explain::{Explanation, LIMIT_SECONDS};
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use crate::analysis::waits::Waits;
use crate::analysis::{Target, TargetError};
use crate::convert::modules::ModuleFiles;
use crate::crashdir::InfoText;
use crate::report::build::{Explained, deadlock};
use crate::report::{Deadlock, Explain, Info};
use livedump_vmcore::Vmcore;
use livedump_vmcore::chain;

/// What a report is made from.
pub struct Input<'i> {
    /// As the file is named in it.
    pub file: String,
    /// The dump.
    pub core: &'i Vmcore,
    /// What it says about itself.
    pub info: Info,
    /// The info.N beside it.
    pub info_text: Option<&'i InfoText>,
    /// Its kernel with it, or why there is none.
    pub target: Result<&'i Target<'i>, String>,
    /// Files of modules.
    pub modules: &'i ModuleFiles,
}

/// The same, read.
pub struct Sources<'s> {
    /// The dump.
    pub core: &'s Vmcore,
    /// What it says about itself.
    pub info: Info,
    /// The info.N beside it.
    pub info_text: Option<&'s InfoText>,
    /// What is known with its kernel, or why there is none.
    pub known: Result<Known<'s>, String>,
}

/// What is known with a kernel.
pub struct Known<'s> {
    /// The dump with it.
    pub target: &'s Target<'s>,
    /// All threads, or why there are none.
    pub threads: Result<&'s Threads, String>,
    /// What they wait for, or why that is not known.
    pub waits: Result<Waiting<'s>, String>,
    /// Their stacks.
    pub stacks: &'s Stacks<'s, 's>,
}

/// The wait-for graph.
pub struct Waiting<'s> {
    /// As it was found.
    pub waits: &'s Waits,
    /// As it is reported.
    pub deadlock: Deadlock,
    /// What threads wait for in the end.
    pub explain: Explain,
}

impl<'s> Sources<'s> {
    /// What is known with its kernel.
    pub(super) fn known(&self) -> Result<&Known<'s>, Absent> {
        self.known.as_ref().map_err(|why| Absent::Unknown(why.clone()))
    }

    /// The dump with its kernel.
    pub(super) fn target(&self) -> Result<&'s Target<'s>, Absent> {
        Ok(self.known()?.target)
    }

    /// The threads.
    pub(super) fn threads(&self) -> Result<&'s Threads, Absent> {
        let threads = self.known()?.threads.as_ref();
        threads.copied().map_err(|why| Absent::Unknown(why.clone()))
    }

    /// The wait-for graph.
    pub(super) fn waiting(&self) -> Result<&Waiting<'s>, Absent> {
        let known = self.known()?;
        known.waits.as_ref().map_err(|why| Absent::Unknown(why.clone()))
    }
}

impl Input<'_> {
    /// Reads what is shared, and makes the report.
    #[must_use]
    pub fn summary(self) -> super::Summary {
        let Input { file, core, info, info_text, target, modules } = self;
        let target = match target {
            Ok(target) => target,
            Err(why) => {
                let known = Err(why);
                let sources = Sources { core, info, info_text, known };
                return super::Summary::new(file, &sources);
            }
        };
        let plain = Stacks::new(target);
        let modules = modules.load(plain.modules());
        let stacks = plain.with_debug_info(&modules);
        let threads = Threads::walk(target).map_err(|e| chain(&e));
        let threads = threads.as_ref().map_err(Clone::clone);
        let waits = threads.clone().and_then(|threads| {
            let waits = Waits::new(target, threads);
            waits.map_err(|e| chain(&TargetError::from(e)))
        });
        let waits = waits.as_ref().map_err(Clone::clone);
        let waits = threads.clone().and_then(|threads| {
            let waits = waits?;
            let mut deadlock = deadlock(target, threads, waits, &stacks);
            deadlock.file.clone_from(&file);
            let limit = LIMIT_SECONDS;
            let explanation =
                Explanation::new(target, threads, waits, &stacks, limit)
                    .map_err(|e| chain(&TargetError::from(e)))?;
            let explained = Explained {
                target,
                threads,
                waits,
                stacks: &stacks,
                explanation: &explanation,
                limit,
            };
            let explain = explained.report(file.clone());
            Ok(Waiting { waits, deadlock, explain })
        });
        let stacks = &stacks;
        let known = Ok(Known { target, threads, waits, stacks });
        let sources = Sources { core, info, info_text, known };
        super::Summary::new(file, &sources)
    }
}
