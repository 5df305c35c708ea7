// SPDX-License-Identifier: BSD-2-Clause
//! Images of dump devices, as a panic leaves them, and what a plain reading
//! of their bytes finds on them. Neither uses anything of the tool's.

/// Where fields stand, by header version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Of 5.0 to 11.x.
    V1,
    /// With a key.
    V2,
    /// With compression.
    V4,
}

/// An image to be made.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Of its headers.
    pub version: Version,
    /// Of the device's sectors.
    pub block: usize,
    /// 0, 1 (gzip) or 2 (zstd).
    pub compression: u8,
    /// The bytes of the dump.
    pub data: Vec<u8>,
    /// Bytes reserved for it; rounded up to blocks.
    pub extent: usize,
    /// The key block; empty if there is none.
    pub key: Vec<u8>,
    /// Whether it is a textdump(4).
    pub text: bool,
    /// Why there is a dump.
    pub panic: String,
    /// Bytes before all that.
    pub before: usize,
}

impl Disk {
    /// A plain dump of these bytes.
    #[must_use]
    pub fn new(data: Vec<u8>) -> Self {
        Self {
            version: Version::V4,
            block: 512,
            compression: 0,
            extent: data.len(),
            data,
            key: Vec::new(),
            text: false,
            panic: "page fault".into(),
            before: 64 << 10,
        }
    }

    fn key_size(&self) -> usize {
        self.key.len().next_multiple_of(self.block)
    }

    /// The 512 bytes of both headers.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut h = vec![0u8; 512];
        let magic: &[u8] = match self.text {
            true => b"FreeBSD Text Dump",
            false => b"FreeBSD Kernel Dump",
        };
        let mut put = |at: usize, bytes: &[u8]| {
            h[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, magic);
        put(20, b"amd64");
        let (version, at): (u32, usize) = match self.version {
            Version::V1 => (1, 56),
            Version::V2 => (2, 60),
            Version::V4 => (4, 60),
        };
        put(32, &version.to_be_bytes());
        put(36, &2u32.to_be_bytes());
        put(40, &(self.data.len() as u64).to_be_bytes());
        put(48, &1_700_000_000u64.to_be_bytes());
        if self.version != Version::V1 {
            put(56, &(self.key_size() as u32).to_be_bytes());
        }
        put(at, &(self.block as u32).to_be_bytes());
        put(at + 4, b"beastie.example.org");
        put(at + 68, b"FreeBSD 15.1-RELEASE GENERIC\n");
        put(at + 260, self.panic.as_bytes());
        if self.version == Version::V4 {
            let extent = self.extent.next_multiple_of(self.block);
            put(495, &[self.compression]);
            put(496, &(extent as u64).to_be_bytes());
        }
        seal(&mut h);
        h
    }

    /// The device.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let block = |bytes: &[u8]| {
            let mut block = bytes.to_vec();
            block.resize(bytes.len().next_multiple_of(self.block), 0);
            block
        };
        // What was on the device before shows wherever nothing is written.
        let mut image = vec![0xa5; self.before];
        image.extend(block(&self.header()));
        if !self.key.is_empty() {
            image.extend(block(&self.key));
        }
        if self.text {
            assert_eq!(self.data.len() % 512, 0);
            image.extend(self.data.rchunks(512).flatten());
        } else {
            let start = image.len();
            image.extend(block(&self.data));
            let extent = self.extent.next_multiple_of(self.block);
            image.resize(start + extent, 0xa5);
        }
        image.extend(block(&self.header()));
        image
    }
}

/// Makes the parity of a header right.
pub fn seal(header: &mut [u8]) {
    header[508..512].fill(0);
    let mut parity = [0u8; 4];
    for (i, byte) in header[..512].iter().enumerate() {
        parity[i % 4] ^= byte;
    }
    header[508..512].copy_from_slice(&parity);
}

/// A key block: cipher, initialization vector, size and key.
#[must_use]
pub fn key(cipher: u8, size: usize) -> Vec<u8> {
    let mut key = vec![cipher];
    key.extend((0..32).map(|n| n * 7));
    key.extend((size as u32).to_be_bytes());
    key.extend((0..size).map(|n| (n * 31) as u8));
    key
}

/// The dump on an image, and its key block: what dd(1) and a calculator
/// would find.
#[must_use]
pub fn extract(image: &[u8], block: usize) -> (Vec<u8>, Vec<u8>) {
    let header = &image[image.len() - block..][..512];
    let be = |at: usize, len: usize| {
        header[at..at + len].iter().fold(0, |n, b| n << 8 | *b as usize)
    };
    let version = be(32, 4);
    let length = be(40, 8);
    let extent = if version == 4 { be(496, 8) } else { length };
    let key_size = if version == 1 { 0 } else { be(56, 4) };
    let end = image.len() - block;
    let start = end - extent;
    let key = image[start - key_size..start].to_vec();
    if header.starts_with(b"FreeBSD Text Dump") {
        let blocks = image[end - length..end].chunks(512).rev();
        return (blocks.flatten().copied().collect(), key);
    }
    (image[start..start + length].to_vec(), key)
}
