// SPDX-License-Identifier: BSD-2-Clause
//! The debug sections of a small file `/src/a.c`: function `outer`, in which
//! `inner` is inlined any number of times in itself, with one line, and how
//! its frame is undone. Its arguments are `known`, -7, and `lost`, in rdi.

use super::sections::Section;

/// What a compiler would say of one function.
#[derive(Clone, Debug)]
pub struct Debug {
    /// Its first address, and its bytes.
    pub at: (u64, u32),
    /// How often `inner` is inlined.
    pub inlined: usize,
    /// The first line of the file that is the function's.
    pub line: u8,
    /// Instructions of CFI.
    pub cfi: Vec<u8>,
}

/// CFI of a function with a frame pointer: the CFA is rbp + 16.
pub const BY_RBP: [u8; 7] = [0x0c, 6, 16, 0x86, 2, 0x90, 1];

fn abbreviations() -> Vec<u8> {
    let mut out = Vec::new();
    for (code, tag, children, attributes) in [
        // DW_AT_name, comp_dir, low_pc, high_pc, stmt_list.
        (
            1,
            0x11,
            1,
            &[(3, 8), (0x1b, 8), (0x11, 1), (0x12, 6), (0x10, 0x17)][..],
        ),
        (2, 0x2e, 1, &[(3, 8), (0x11, 1), (0x12, 6)]),
        // DW_AT_name, inline.
        (3, 0x2e, 0, &[(3, 8), (0x20, 11)]),
        // DW_AT_abstract_origin, low_pc, high_pc, call_file, call_line.
        (
            4,
            0x1d,
            1,
            &[(0x31, 0x13), (0x11, 1), (0x12, 6), (0x58, 11), (0x59, 11)],
        ),
        // DW_AT_name, type, location.
        (5, 5, 0, &[(3, 8), (0x49, 0x13), (2, 0x18)]),
        // DW_AT_name, byte_size, encoding.
        (6, 0x24, 0, &[(3, 8), (11, 11), (0x3e, 11)]),
    ] {
        out.extend([code, tag, children]);
        for &(name, form) in attributes {
            out.extend([name, form]);
        }
        out.extend([0, 0]);
    }
    out.push(0);
    out
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend(body);
    out
}

impl Debug {
    /// The sections.
    #[must_use]
    pub fn sections(&self) -> Vec<Section<'static>> {
        vec![
            Section::new(".debug_info", self.info()),
            Section::new(".debug_abbrev", abbreviations()),
            Section::new(".debug_line", self.lines()),
            Section::new(".debug_frame", self.frame()),
        ]
    }

    fn info(&self) -> Vec<u8> {
        let (start, size) = self.at;
        let mut body = 4u16.to_le_bytes().to_vec();
        body.extend(0u32.to_le_bytes());
        body.push(8);
        let range = |body: &mut Vec<u8>| {
            body.extend(start.to_le_bytes());
            body.extend(size.to_le_bytes());
        };
        body.extend(b"\x01a.c\0/src\0");
        range(&mut body);
        body.extend(0u32.to_le_bytes());
        // From the unit's length on.
        let inner = body.len() as u32 + 4;
        body.extend(b"\x03inner\0\x01");
        let int = body.len() as u32 + 4;
        body.extend(b"\x06int\0\x04\x05");
        body.extend(b"\x02outer\0");
        range(&mut body);
        // DW_OP_const1s -7, DW_OP_stack_value; DW_OP_reg5.
        for (name, place) in
            [(&b"known"[..], &[0x09, 0xf9, 0x9f][..]), (b"lost", &[0x55])]
        {
            body.push(5);
            body.extend(name);
            body.push(0);
            body.extend(int.to_le_bytes());
            body.push(place.len() as u8);
            body.extend(place);
        }
        for n in 0..self.inlined {
            body.push(4);
            body.extend(inner.to_le_bytes());
            range(&mut body);
            body.extend([1, 100 + (n % 100) as u8]);
        }
        body.resize(body.len() + self.inlined + 2, 0);
        with_length(&body)
    }

    fn lines(&self) -> Vec<u8> {
        let (start, size) = self.at;
        let mut header = vec![1, 1, 1, 0xfb, 14, 13];
        header.extend([0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1]);
        header.extend(b"\0a.c\0\0\0\0\0");
        let mut body = 4u16.to_le_bytes().to_vec();
        body.extend(with_length(&header));
        body.extend([0, 9, 2]);
        body.extend(start.to_le_bytes());
        // The line, which was 1; a row; the end.
        body.extend([3, self.line - 1, 1, 2]);
        let mut n = size;
        while n > 0x7f {
            body.push(n as u8 | 0x80);
            n >>= 7;
        }
        body.extend([n as u8, 0, 1, 1]);
        with_length(&body)
    }

    fn frame(&self) -> Vec<u8> {
        let (start, size) = self.at;
        let mut cie = u32::MAX.to_le_bytes().to_vec();
        // Version, augmentation, alignments 1 and -8, the return address.
        cie.extend([1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]);
        let mut out = with_length(&cie);
        let mut fde = 0u32.to_le_bytes().to_vec();
        fde.extend(start.to_le_bytes());
        fde.extend(u64::from(size).to_le_bytes());
        fde.extend(&self.cfi);
        out.extend(with_length(&fde));
        out
    }
}
