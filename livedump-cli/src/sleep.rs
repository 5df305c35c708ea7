// SPDX-License-Identifier: BSD-2-Clause
//! Sleeping in capability mode: FreeBSD refuses clock_nanosleep(2) there, which
//! the standard library uses, and which it panics without.

use nix::poll::{PollTimeout, poll};
use std::time::{Duration, Instant};

/// Sleeps for this time at least, whatever signals come.
pub fn sleep(time: Duration) {
    let began = Instant::now();
    while let Some(left) =
        time.checked_sub(began.elapsed()).filter(|t| !t.is_zero())
    {
        // Up, so that the last part of a millisecond is not spun away.
        let ms = left.as_nanos().div_ceil(1_000_000);
        let ms = i32::try_from(ms).unwrap_or(i32::MAX);
        // Of no descriptors: only the time passes.
        let _ = poll(
            &mut [],
            PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_no_shorter_and_not_much_longer() {
        for ms in [0, 1, 30] {
            let began = Instant::now();
            sleep(Duration::from_millis(ms));
            let took = began.elapsed();
            assert!(took >= Duration::from_millis(ms), "{took:?}");
            assert!(took < Duration::from_secs(20), "{took:?}");
        }
        let began = Instant::now();
        sleep(Duration::from_micros(300));
        assert!(began.elapsed() >= Duration::from_micros(300));
    }
}
