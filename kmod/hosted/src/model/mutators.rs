// SPDX-License-Identifier: BSD-2-Clause
//! Threads of the host that change a machine while others look at it.

use super::Model;
use super::recipe::Mutate;
use super::rng::{Rng, mix};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Threads that change the machine until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it stops the threads"]
pub struct Mutators {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Mutators {
    pub(super) fn start(model: &Arc<Model>, threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let what = match model.recipe.mutate {
            m if m.any() => m,
            _ => Mutate::all(1),
        };
        let one = |i| {
            let (model, stop) = (Arc::clone(model), Arc::clone(&stop));
            let mut rng = Rng::new(mix(model.recipe.seed) ^ i as u64);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    model.mutate(&what, &mut rng);
                    std::thread::yield_now();
                }
            })
        };
        let threads = (0..threads).map(one).collect();
        Self { stop, threads }
    }
}

impl Drop for Mutators {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
