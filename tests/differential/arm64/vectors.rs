//! SIMD, floating-point and scalable vector registers in a signal frame: records of a magic
//! number, a size and contents, up to one whose magic number is zero.

/// The room for records in a frame.
pub(super) const RECORDS: usize = 4096;
/// The length of a scalable vector here, in bytes.
pub(super) const LENGTH: usize = 32;

const FPSIMD: u32 = 0x4650_8001;
const SVE: u32 = 0x5356_4501;
/// Where the vectors of a record of scalable ones begin.
const SVE_DATA: usize = 16;

/// Registers other than the general ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// z0 to z31; v0 to v31 are their first sixteen bytes.
    pub z: [[u8; LENGTH]; 32],
    /// p0 to p15 and FFR.
    pub p: [[u8; LENGTH / 8]; 17],
    /// Rounding and so on.
    pub fpcr: u32,
    /// What went wrong.
    pub fpsr: u32,
}

impl Default for Vectors {
    fn default() -> Vectors {
        Vectors { z: [[0; LENGTH]; 32], p: [[0; LENGTH / 8]; 17], fpcr: 0, fpsr: 0 }
    }
}

/// Where the contents of the record with `magic` are.
fn record(records: &[u8], magic: u32) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    loop {
        let word = |at: usize| Some(u32::from_le_bytes(*records.get(at..)?.first_chunk()?));
        let (found, size) = (word(at)?, word(at + 4)? as usize);
        if found == magic {
            return Some(at..at + size);
        }
        if found == 0 {
            return None;
        }
        at += size;
    }
}

/// The scalable vectors, if the frame has them and of the length they have here.
fn scalable(records: &[u8]) -> Option<std::ops::Range<usize>> {
    let record = record(records, SVE)?;
    let length = u16::from_le_bytes([records[record.start + 8], records[record.start + 9]]);
    let data = record.start + SVE_DATA..record.end;
    (usize::from(length) == LENGTH && data.len() >= 32 * LENGTH + 17 * LENGTH / 8).then_some(data)
}

impl Vectors {
    /// Writes them over those in `records`, as far as there is a place for them.
    pub(super) fn store(&self, records: &mut [u8]) {
        if let Some(record) = record(records, FPSIMD) {
            let bytes = &mut records[record];
            bytes[8..12].copy_from_slice(&self.fpsr.to_le_bytes());
            bytes[12..16].copy_from_slice(&self.fpcr.to_le_bytes());
            for (v, z) in bytes[16..].chunks_exact_mut(16).zip(&self.z) {
                v.copy_from_slice(&z[..16]);
            }
        }
        if let Some(data) = scalable(records) {
            let (z, p) = records[data].split_at_mut(32 * LENGTH);
            z.copy_from_slice(self.z.as_flattened());
            p[..17 * LENGTH / 8].copy_from_slice(self.p.as_flattened());
        }
    }

    /// Reads them from `records`; what is not there is zero.
    pub(super) fn load(records: &[u8]) -> Vectors {
        let mut vectors = Vectors::default();
        if let Some(record) = record(records, FPSIMD) {
            let bytes = &records[record];
            vectors.fpsr = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            vectors.fpcr = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
            for (v, z) in bytes[16..].chunks_exact(16).zip(&mut vectors.z) {
                z[..16].copy_from_slice(v);
            }
        }
        if let Some(data) = scalable(records) {
            let (z, p) = records[data].split_at(32 * LENGTH);
            vectors.z.as_flattened_mut().copy_from_slice(z);
            vectors.p.as_flattened_mut().copy_from_slice(&p[..17 * LENGTH / 8]);
        }
        vectors
    }
}
