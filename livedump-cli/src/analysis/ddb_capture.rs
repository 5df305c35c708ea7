// SPDX-License-Identifier: BSD-2-Clause
//! What ddb(4) has printed while its output was captured. C:
//! `db_capture_buf`, ddb/db_capture.c.

use super::target::Target;
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// C: DDB_CAPTURE_MAXBUFSIZE is 5 MB.
const MAX_BYTES: u64 = 16 << 20;

/// The text; empty where nothing was captured.
///
/// # Errors
/// It is not told where it is: the kernel may have no ddb.
pub fn ddb_capture(t: &Target<'_>) -> Result<Vec<u8>, Unavailable> {
    let length = t.need_number("db_capture_bufoff", MAX_BYTES)?;
    let buffer = t.need_u64("db_capture_buf")?;
    if buffer == 0 {
        return Ok(Vec::new());
    }
    let mut raw = vec![0; usize::try_from(length).unwrap_or(0)];
    match t.core.read_va(Vaddr(buffer), &mut raw) {
        Ok(()) => Ok(raw),
        Err(source) => {
            Err(Unavailable::Read { what: "db_capture_buf", source })
        }
    }
}
