// SPDX-License-Identifier: BSD-2-Clause
//! Threads that compress pages, each page alone.

use super::super::is_zero;
use clap::ValueEnum;
use flate2::{Compress, Compression, FlushCompress, Status};
use memdev::addr::PAGE_SIZE;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// C: `DUMP_DH_COMPRESSED_ZLIB`.
const ZLIB: u32 = 1;
/// C: `DUMP_DH_COMPRESSED_ZSTD`.
const ZSTD: u32 = 0x20;
/// As makedumpfile compresses.
const LEVEL: i32 = 1;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Codec {
    /// Zstandard
    #[default]
    Zstd,
    /// zlib, which old readers have, too
    Zlib,
}

impl Codec {
    /// In the header and in descriptors.
    pub(super) fn flags(self) -> u32 {
        match self {
            Self::Zstd => ZSTD,
            Self::Zlib => ZLIB,
        }
    }
}

/// A page among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedPage {
    pub size: u32,
    pub flags: u32,
    pub zero: bool,
}

/// Pages, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub pages: Vec<PackedPage>,
    pub data: Vec<u8>,
}

struct Work {
    bytes: Vec<u8>,
    done: std::sync::mpsc::Sender<Packed>,
}

/// The threads.
pub(super) struct Packer(SyncSender<Work>);

impl Packer {
    /// Starts them; they end when this is dropped.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        codec: Codec,
        threads: usize,
    ) -> Self {
        let threads = threads.clamp(1, 64);
        let (work, queue) = sync_channel::<Work>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            scope.spawn(move || {
                let mut context = Context::new(codec);
                while let Some(Work { bytes, done }) = next(&queue) {
                    // Nobody waits where another part has failed.
                    let _ = done.send(context.pack(&bytes));
                }
            });
        }
        Self(work)
    }

    /// Has pages compressed.
    pub(super) fn pack(&self, bytes: &[u8]) -> Receiver<Packed> {
        let (done, packed) = channel();
        // If all of them are gone the receiver says so.
        let _ = self.0.send(Work { bytes: bytes.to_vec(), done });
        packed
    }
}

fn next(queue: &Mutex<Receiver<Work>>) -> Option<Work> {
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.recv().ok()
}

/// A thread's own.
struct Context {
    codec: Codec,
    zstd: Option<Compressor<'static>>,
    zlib: Compress,
    out: Vec<u8>,
}

impl Context {
    fn new(codec: Codec) -> Self {
        let zstd = Compressor::new(LEVEL).ok().and_then(|mut zstd| {
            // So that damage is an error, and not another page.
            zstd.set_parameter(CParameter::ChecksumFlag(true)).ok()?;
            Some(zstd)
        });
        let zlib = Compress::new(Compression::fast(), true);
        Self { codec, zstd, zlib, out: vec![0; PAGE_SIZE] }
    }

    fn pack(&mut self, bytes: &[u8]) -> Packed {
        let mut all = Packed::default();
        for page in bytes.chunks(PAGE_SIZE) {
            let size = self.compress(page);
            let packed = size.and_then(|n| self.out.get(..n));
            let (data, flags) = match packed {
                Some(packed) => (packed, self.codec.flags()),
                None => (page, 0),
            };
            all.data.extend_from_slice(data);
            all.pages.push(PackedPage {
                size: u32::try_from(data.len()).unwrap_or(0),
                flags,
                zero: is_zero(page),
            });
        }
        all
    }

    /// `None` where a page does not become smaller.
    fn compress(&mut self, page: &[u8]) -> Option<usize> {
        let n = match self.codec {
            Codec::Zstd => {
                let zstd = self.zstd.as_mut()?;
                zstd.compress_to_buffer(page, self.out.as_mut_slice()).ok()?
            }
            Codec::Zlib => {
                self.zlib.reset();
                let flush = FlushCompress::Finish;
                match self.zlib.compress(page, &mut self.out, flush).ok()? {
                    Status::StreamEnd => {
                        usize::try_from(self.zlib.total_out()).ok()?
                    }
                    _ => return None,
                }
            }
        };
        (n < page.len()).then_some(n)
    }
}
