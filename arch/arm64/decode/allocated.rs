//! Which words of the groups that are nowhere treated in their own way are instructions.
//!
//! The tables are text: one bit picture a line, the encoding class above it. They are read at
//! compile time into rows ordered by the first byte, so that a look-up compares a few rows.
//!
//! They were made from two sources that had to agree: the fixed bits of each instruction in
//! Arm's machine-readable specification, cut into smaller pictures until LLVM's decoder, asked
//! about each of the 2^32 words, decoded every word of every picture. What a newer revision
//! adds, what LLVM takes for CONSTRAINED UNPREDICTABLE and the specification leaves out (fields
//! that should be ones or zeros), and what only one of them knows is in none.

/// `word & mask == value`.
#[derive(Clone, Copy)]
struct Row {
    mask: u32,
    value: u32,
}

const TABLES: [&[u8]; 5] = [
    include_bytes!("allocated/integer.txt"),
    include_bytes!("allocated/memory.txt"),
    include_bytes!("allocated/simd.txt"),
    include_bytes!("allocated/sve.txt"),
    include_bytes!("allocated/sme.txt"),
];

/// Whether `word` is in one of the tables.
pub(super) fn contains(word: u32) -> bool {
    let first = usize::from(word.to_be_bytes()[0]);
    let rows = usize::from(STARTS[first])..usize::from(STARTS[first + 1]);
    ROWS.get(rows).unwrap_or(&[]).iter().any(|row| word & row.mask == row.value)
}

/// The rows for each first byte, one after the other: those of byte `b` begin at `STARTS[b]`.
/// A row whose first byte has free bits is there more than once.
static STARTS: [u16; 257] = COUNTED;
const COUNTED: [u16; 257] = starts();
const LEN: usize = COUNTED[256] as usize;
static ROWS: [Row; LEN] = rows();

const fn starts() -> [u16; 257] {
    // Counted one place up, summed, so that each entry is where its byte begins.
    let mut starts = [0; 257];
    let mut pictures = Pictures::new();
    while let Some(row) = pictures.next() {
        let mut bytes = FirstBytes::of(row);
        while let Some(byte) = bytes.next() {
            starts[byte + 1] += 1;
        }
    }
    let mut byte = 0;
    while byte < 256 {
        starts[byte + 1] += starts[byte];
        byte += 1;
    }
    starts
}

const fn rows() -> [Row; LEN] {
    let mut rows = [Row { mask: 0, value: 0 }; LEN];
    let mut next = COUNTED;
    let mut pictures = Pictures::new();
    while let Some(row) = pictures.next() {
        let mut bytes = FirstBytes::of(row);
        while let Some(byte) = bytes.next() {
            rows[next[byte] as usize] = row;
            next[byte] += 1;
        }
    }
    rows
}

/// The first bytes that a row allows.
struct FirstBytes {
    value: u32,
    free: u32,
    subset: Option<u32>,
}

impl FirstBytes {
    const fn of(row: Row) -> FirstBytes {
        FirstBytes { value: row.value >> 24, free: !row.mask >> 24, subset: Some(0) }
    }

    const fn next(&mut self) -> Option<usize> {
        let Some(subset) = self.subset else { return None };
        // The next subset of the free bits: a carry that ripples over the others.
        let next = subset.wrapping_sub(self.free) & self.free;
        self.subset = if next == 0 { None } else { Some(next) };
        Some((self.value | subset) as usize)
    }
}

/// The pictures of all tables, in order.
struct Pictures {
    table: usize,
    at: usize,
}

impl Pictures {
    const fn new() -> Pictures {
        Pictures { table: 0, at: 0 }
    }

    /// The next picture; a line that begins with `#` is none.
    const fn next(&mut self) -> Option<Row> {
        while self.table < TABLES.len() {
            let text = TABLES[self.table];
            while self.at < text.len() {
                let line = self.at;
                while text[self.at] != b'\n' {
                    self.at += 1;
                }
                self.at += 1;
                if text[line] != b'#' {
                    assert!(self.at - line == 33, "a picture has 32 places");
                    return Some(picture(text, line));
                }
            }
            self.table += 1;
            self.at = 0;
        }
        None
    }
}

const fn picture(text: &[u8], from: usize) -> Row {
    let mut row = Row { mask: 0, value: 0 };
    let mut place = 0;
    while place < 32 {
        let bit = 1 << (31 - place);
        match text[from + place] {
            b'0' => row.mask |= bit,
            b'1' => {
                row.mask |= bit;
                row.value |= bit;
            }
            b'.' => {}
            _ => panic!("a picture has 0, 1 and ."),
        }
        place += 1;
    }
    row
}
