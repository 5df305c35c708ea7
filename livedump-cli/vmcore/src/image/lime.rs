// SPDX-License-Identifier: BSD-2-Clause
//! Not read yet.

use super::{ImageError, MemoryImage};
use crate::source::Source;
use std::sync::Arc;

/// The image, if the file begins as one.
///
/// # Errors
/// It is damaged.
pub fn open(
    _source: &Arc<dyn Source>,
    _head: &[u8],
) -> Result<Option<Arc<dyn MemoryImage>>, ImageError> {
    Ok(None)
}
