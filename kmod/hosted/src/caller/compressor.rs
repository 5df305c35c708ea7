// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's compressors.

use super::Caller;
use crate::compressor::{Compressor, GZIP_LEVEL};
use crate::method::Method;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::Compressors;
use memdev::kerneldump::Compression;
use std::sync::atomic::Ordering;

impl<'a> Compressors for Caller<'a> {
    type Compressor = Compressor<'a>;

    fn compressor_avail(&self, format: Compression) -> bool {
        self.pass(Method::CompressorAvail);
        match format {
            Compression::None => false,
            Compression::Gzip => self.kernel.has_gzip.load(Ordering::Relaxed),
            Compression::Zstd => self.kernel.has_zstd.load(Ordering::Relaxed),
        }
    }

    fn compressor_level(&self, format: Compression) -> i32 {
        self.pass(Method::CompressorLevel);
        match format {
            Compression::None => 0,
            Compression::Gzip => GZIP_LEVEL,
            Compression::Zstd => self.kernel.zstd_level.load(Ordering::Relaxed),
        }
    }

    fn compressor_init(
        &self,
        format: Compression,
        chunk: usize,
        level: i32,
    ) -> Result<Compressor<'a>> {
        self.step(Method::CompressorInit)?;
        Compressor::new(self.kernel, format, chunk, level)
    }
}
