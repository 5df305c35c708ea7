// SPDX-License-Identifier: BSD-2-Clause
//! Which physical pages are free. Extents of whole pages, taken first fit, from
//! the top (as a kernel takes its boot-time tables) or from anywhere (as a
//! kernel's pages lie after a week of running).

use super::rng::Rng;
use memdev::addr::{PAGE_SIZE, trunc_page};
use std::collections::BTreeMap;

const PAGE: u64 = PAGE_SIZE as u64;

/// The free pages.
#[derive(Debug)]
pub(super) struct Frames {
    /// Start to end, apart from each other.
    free: BTreeMap<u64, u64>,
    top: u64,
}

impl Frames {
    /// All whole pages of `ram`.
    pub(super) fn new(ram: &[(u64, u64)]) -> Self {
        let mut frames = Self { free: BTreeMap::new(), top: 0 };
        for &(start, end) in ram {
            let start = start.next_multiple_of(PAGE);
            let end = trunc_page(end);
            if start < end {
                frames.free.insert(start, end);
                frames.top = end;
            }
        }
        frames
    }

    fn cut(&mut self, extent: (u64, u64), start: u64, end: u64) {
        self.free.remove(&extent.0);
        if extent.0 < start {
            self.free.insert(extent.0, start);
        }
        if end < extent.1 {
            self.free.insert(end, extent.1);
        }
    }

    /// Exactly `bytes` at `start`.
    pub(super) fn allocate_at(
        &mut self,
        start: u64,
        bytes: u64,
    ) -> Option<u64> {
        let end = start.checked_add(bytes)?;
        let (&low, &high) = self.free.range(..=start).next_back()?;
        (end <= high).then(|| self.cut((low, high), start, end))?;
        Some(start)
    }

    /// The highest `bytes` in one piece.
    pub(super) fn allocate_high(
        &mut self,
        bytes: u64,
        align: u64,
    ) -> Option<u64> {
        let (extent, start) =
            self.free.iter().rev().find_map(|(&low, &high)| {
                let start = high.checked_sub(bytes)? / align * align;
                (start >= low).then_some(((low, high), start))
            })?;
        self.cut(extent, start, start + bytes);
        Some(start)
    }

    /// One page from anywhere.
    pub(super) fn allocate_any(&mut self, rng: &mut Rng) -> Option<u64> {
        let at = trunc_page(rng.below(self.top.max(1)));
        let extent = self
            .free
            .range(..=at)
            .next_back()
            .filter(|&(_, &high)| at < high)
            .or_else(|| self.free.range(at..).next())
            .or_else(|| self.free.iter().next_back())
            .map(|(&low, &high)| (low, high))?;
        let start = at.clamp(extent.0, extent.1 - PAGE);
        self.cut(extent, start, start + PAGE);
        Some(start)
    }

    /// Gives a page back.
    pub(super) fn give(&mut self, pa: u64) {
        let (mut start, mut end) = (pa, pa + PAGE);
        if let Some((&low, &high)) = self.free.range(..=pa).next_back()
            && high == start
        {
            start = low;
        }
        if let Some(high) = self.free.remove(&end) {
            end = high;
        }
        self.free.insert(start, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const RAM: [(u64, u64); 2] = [(0x800, 0x9f800), (0x10_0000, 0x20_0000)];

    #[test]
    fn only_whole_pages_are_free_and_each_is_taken_once() {
        let mut f = Frames::new(&RAM);
        let mut rng = Rng::new(7);
        let mut seen = BTreeSet::new();
        while let Some(pa) = f.allocate_any(&mut rng) {
            assert!((0x1000..0x9f000).contains(&pa) || pa >= 0x10_0000);
            assert!(pa < 0x20_0000);
            assert!(seen.insert(pa));
        }
        assert_eq!(seen.len(), 0x9e + 0x100);
        assert!(f.free.is_empty());
        for pa in seen {
            f.give(pa);
        }
        let free: Vec<_> = f.free.into_iter().collect();
        assert_eq!(free, [(0x1000, 0x9f000), (0x10_0000, 0x20_0000)]);
    }

    #[test]
    fn pieces_are_where_they_were_asked_for() {
        let mut f = Frames::new(&RAM);
        assert_eq!(f.allocate_at(0x18_0000, 0x1000), Some(0x18_0000));
        assert_eq!(f.allocate_at(0x18_0000, 0x1000), None);
        assert_eq!(f.allocate_at(0xff000, 0x2000), None);
        assert_eq!(f.allocate_high(0x2000, 0x1000), Some(0x1f_e000));
        assert_eq!(f.allocate_high(0x8_0000, 0x1000), Some(0x10_0000));
        assert_eq!(f.allocate_high(0x10_0000, 0x1000), None);
        assert_eq!(f.allocate_high(0x2000, 0x8000), Some(0x1f_8000));
    }
}
