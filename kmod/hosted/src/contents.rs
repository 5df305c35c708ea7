// SPDX-License-Identifier: BSD-2-Clause
//! What a chunk of memory holds, told by a few of its pages.
//!
//! A look at four pages takes about one part in a hundred of what it takes to
//! compress a chunk at the fastest level.

use memdev::addr::PAGE_SIZE;

/// How much of it was seen before, and what the rest is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// Hardly a word repeats, few byte values are frequent, 0 not among them:
    /// text.
    Text,
    /// Hardly a word repeats, and many bytes are 0: tables of small numbers.
    Numbers,
    /// Some words repeat, few byte values are frequent: code, symbols.
    Mixed,
    /// Few words repeat, all byte values are about as frequent: what is
    /// compressed or encrypted.
    Wide,
    /// Many words repeat, and the rest has few byte values: zeros, counters.
    Flat,
    /// Many words repeat, and the rest has many byte values: structures with
    /// pointers.
    Structures,
}

/// Words that were seen before, of all: above it, some or many repeat.
const SOME: f64 = 0.26;
const MANY: f64 = 0.58;
/// Bits of entropy of a byte that is in no repeated word.
const WIDE: f64 = 6.46;
const FLAT: f64 = 2.94;
/// Zeros among those bytes.
const ZEROS: f64 = 0.144;

/// Pages that are looked at, and how many are tried for them: those of zeros
/// are passed over.
const SAMPLES: usize = 4;
const TRIES: usize = 16;
/// From page to page, so that they lie all over the chunk: odd, as the pages of
/// a chunk are a power of two.
const STRIDE: usize = 27;
/// Of their words of 32 bits each third, so that both halves of pointers are
/// among them.
const WORDS: usize = 3;
const SLOT_BITS: u32 = 10;

impl Contents {
    pub(super) fn of(src: &[u8]) -> Self {
        let mut seen = Seen::default();
        let (pages, _) = src.as_chunks::<PAGE_SIZE>();
        let order = (0..pages.len().min(TRIES)).filter_map(|nth| {
            let at = (nth * STRIDE + STRIDE / 4) % pages.len();
            pages.get(at).filter(|page| !is_zero(page))
        });
        for page in order.take(SAMPLES) {
            let (words, _) = page.as_chunks::<4>();
            words.iter().step_by(WORDS).for_each(|word| seen.add(*word));
        }
        let (repeated, bits) = (seen.repeated(), seen.entropy());
        match repeated {
            MANY.. if bits < FLAT => Self::Flat,
            MANY.. => Self::Structures,
            _ if bits >= WIDE => Self::Wide,
            SOME.. => Self::Mixed,
            _ if seen.zeros() >= ZEROS => Self::Numbers,
            _ => Self::Text,
        }
    }
}

struct Seen {
    /// The last word of each hash.
    last: [u32; 1 << SLOT_BITS],
    words: u32,
    again: u32,
    /// How often each value was in a word that was not seen before.
    bytes: [u32; 256],
}

impl Default for Seen {
    fn default() -> Self {
        let last = [0; 1 << SLOT_BITS];
        Self { last, words: 0, again: 0, bytes: [0; 256] }
    }
}

impl Seen {
    fn add(&mut self, word: [u8; 4]) {
        let value = u32::from_le_bytes(word);
        // Knuth's multiplicative hash.
        let hash = value.wrapping_mul(2_654_435_761) >> (32 - SLOT_BITS);
        let Some(last) = self.last.get_mut(hash as usize) else { return };
        self.words += 1;
        if std::mem::replace(last, value) == value {
            self.again += 1;
            return;
        }
        for byte in word {
            if let Some(count) = self.bytes.get_mut(usize::from(byte)) {
                *count += 1;
            }
        }
    }

    /// Of 1; where nothing but zeros was found, all repeats.
    fn repeated(&self) -> f64 {
        match self.words {
            0 => 1.0,
            words => f64::from(self.again) / f64::from(words),
        }
    }

    /// Bits a byte, from 0 to 8 (Shannon).
    fn entropy(&self) -> f64 {
        let counts = self.bytes.iter().filter(|count| **count > 0);
        let share = counts.map(|count| self.share(*count));
        -share.map(|share| share * share.log2()).sum::<f64>()
    }

    fn zeros(&self) -> f64 {
        let [zeros, ..] = self.bytes;
        if zeros == 0 { 0.0 } else { self.share(zeros) }
    }

    /// Of all bytes that are in no repeated word.
    fn share(&self, count: u32) -> f64 {
        f64::from(count) / (f64::from(self.words - self.again) * 4.0)
    }
}

fn is_zero(page: &[u8; PAGE_SIZE]) -> bool {
    let (words, _) = page.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const CHUNK: usize = 64 * PAGE_SIZE;

    pub(in super::super) fn noise() -> Vec<u8> {
        let mut x = 1u32;
        let next = |_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        };
        (0..CHUNK).map(next).collect()
    }

    /// Letters, each as often as the others.
    pub(in super::super) fn letters() -> Vec<u8> {
        noise().iter().map(|byte| b'a' + byte % 26).collect()
    }

    /// All different.
    pub(in super::super) fn numbers() -> Vec<u8> {
        (1..=CHUNK as u32 / 4)
            .map(|n| n * 7)
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    /// Some words again and again, others between them.
    pub(in super::super) fn code() -> Vec<u8> {
        let words = letters();
        let (words, _) = words.as_chunks::<4>();
        let each = words.iter().enumerate();
        each.flat_map(|(n, w)| if n / 3 % 5 < 2 { *b"call" } else { *w })
            .collect()
    }

    /// Pointers and counters.
    pub(in super::super) fn structures() -> Vec<u8> {
        (0..CHUNK as u64 / 32)
            .flat_map(|n| {
                let pointer = 0xffff_f800_0000_0000 | (n * 0x9e37) << 6;
                [pointer, 0, n % 5, pointer + 64]
            })
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    #[test]
    fn each_kind_is_told() {
        assert_eq!(Contents::of(&noise()), Contents::Wide);
        assert_eq!(Contents::of(&letters()), Contents::Text);
        assert_eq!(Contents::of(&numbers()), Contents::Numbers);
        assert_eq!(Contents::of(&code()), Contents::Mixed);
        assert_eq!(Contents::of(&structures()), Contents::Structures);
        let counters = (0..CHUNK as u32 / 16).flat_map(|n| [0, n % 7, 0, 1]);
        let counters: Vec<u8> = counters.flat_map(u32::to_le_bytes).collect();
        assert_eq!(Contents::of(&counters), Contents::Flat);
    }

    #[test]
    fn zeros_and_what_is_no_page_are_flat() {
        for src in [vec![0; CHUNK], vec![7; CHUNK], vec![7; 100], Vec::new()] {
            assert_eq!(Contents::of(&src), Contents::Flat);
        }
    }

    #[test]
    fn pages_of_zeros_are_passed_over() {
        let from = noise();
        let mut few = vec![0; CHUNK];
        for at in (0..64).step_by(2) {
            let page = at * PAGE_SIZE..(at + 1) * PAGE_SIZE;
            few[page.clone()].copy_from_slice(&from[page]);
        }
        assert_eq!(Contents::of(&few), Contents::Wide);
    }
}
