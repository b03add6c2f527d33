//! x87, SSE, AVX and AVX-512 registers in the XSAVE area of a signal frame (Intel SDM 1, 13.4;
//! the last 48 bytes of the legacy region are the kernel's, asm/sigcontext.h).

use std::arch::x86_64::__cpuid_count;
use std::fmt;

/// Registers other than the general ones. The x87 instruction pointer is left out: it names the
/// slot (see the documentation of `xol_arch::x86_64`).
#[derive(Clone, PartialEq)]
pub struct Vectors {
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word.
    pub fsw: u16,
    /// x87 tags, abridged: a bit for each register that is not empty.
    pub ftw: u8,
    /// x87 data pointer.
    pub fdp: u64,
    /// st(0) to st(7), or mm0 to mm7 in the lower 8 bytes.
    pub st: [[u8; 10]; 8],
    /// xmm, ymm, zmm, in one.
    pub zmm: [[u8; 64]; 32],
    /// Opmasks.
    pub k: [u64; 8],
}

impl fmt::Debug for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mxcsr {:x} fcw {:x} fsw {:x} ", self.mxcsr, self.fcw, self.fsw)?;
        write!(f, "ftw {:x} fdp {:x} st {:x?} k {:x?}", self.ftw, self.fdp, self.st, self.k)?;
        let used = self.zmm.iter().enumerate().filter(|(_, zmm)| zmm.iter().any(|b| *b != 0));
        used.into_iter().try_for_each(|(n, zmm)| write!(f, " zmm{n} {zmm:02x?}"))
    }
}

impl Default for Vectors {
    fn default() -> Self {
        Vectors {
            mxcsr: 0x1f80,
            fcw: 0x37f,
            fsw: 0,
            ftw: 0,
            fdp: 0,
            st: [[0; 10]; 8],
            zmm: [[0; 64]; 32],
            k: [0; 8],
        }
    }
}

const X87: u64 = 1 << 0;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
const OPMASK: u64 = 1 << 5;
const ZMM_HI256: u64 = 1 << 6;
const HI16_ZMM: u64 = 1 << 7;

const SW_RESERVED: usize = 464;
const XSTATE_BV: usize = 512;

/// Where the components are: the same for the life of the machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offsets {
    /// Components of the frame.
    features: u64,
    ymm: usize,
    opmask: usize,
    zmm_hi: usize,
    hi16: usize,
}

impl Offsets {
    /// From a frame's area and CPUID leaf 0x0d.
    pub(super) fn of(area: &[u8]) -> Offsets {
        let offset = |component| __cpuid_count(0x0d, component).ebx as usize;
        // struct _fpx_sw_bytes: magic1, extended_size, xfeatures, xstate_size
        let features = u64_at(area, SW_RESERVED + 8);
        Offsets { features, ymm: offset(2), opmask: offset(5), zmm_hi: offset(6), hi16: offset(7) }
    }

    /// The bytes of a frame's area, the kernel's end mark included.
    pub(super) fn size(area: &[u8]) -> usize {
        u64_at(area, SW_RESERVED) as usize >> 32
    }

    /// Stores `vectors` into an area that came from the kernel.
    pub(super) fn store(&self, vectors: &Vectors, area: &mut [u8]) {
        let mine = X87 | SSE | AVX | OPMASK | ZMM_HI256 | HI16_ZMM;
        let others = u64_at(area, XSTATE_BV) & !mine;
        put(area, XSTATE_BV, &(others | self.features & mine).to_le_bytes());
        put(area, 0, &vectors.fcw.to_le_bytes());
        put(area, 2, &vectors.fsw.to_le_bytes());
        put(area, 4, &[vectors.ftw, 0]);
        put(area, 8, &[0; 8]);
        put(area, 16, &vectors.fdp.to_le_bytes());
        put(area, 24, &vectors.mxcsr.to_le_bytes());
        for (n, st) in vectors.st.iter().enumerate() {
            put(area, 32 + 16 * n, st);
        }
        for (n, zmm) in vectors.zmm.iter().enumerate() {
            if n >= 16 {
                self.if_has(HI16_ZMM, || put(area, self.hi16 + 64 * (n - 16), zmm));
                continue;
            }
            put(area, 160 + 16 * n, &zmm[..16]);
            self.if_has(AVX, || put(area, self.ymm + 16 * n, &zmm[16..32]));
            self.if_has(ZMM_HI256, || put(area, self.zmm_hi + 32 * n, &zmm[32..]));
        }
        for (n, k) in vectors.k.iter().enumerate() {
            self.if_has(OPMASK, || put(area, self.opmask + 8 * n, &k.to_le_bytes()));
        }
    }

    /// Loads what a frame's area holds; a component that is not there is in its first state.
    pub(super) fn load(&self, area: &[u8]) -> Vectors {
        let there = u64_at(area, XSTATE_BV);
        let has = |component| there & component != 0;
        let mut vectors = Vectors { mxcsr: u64_at(area, 24) as u32, ..Vectors::default() };
        if has(X87) {
            let word = u64_at(area, 0);
            (vectors.fcw, vectors.fsw) = (word as u16, (word >> 16) as u16);
            vectors.ftw = (word >> 32) as u8;
            vectors.fdp = u64_at(area, 16);
            for (n, st) in vectors.st.iter_mut().enumerate() {
                st.copy_from_slice(&area[32 + 16 * n..][..10]);
            }
        }
        for (n, zmm) in vectors.zmm.iter_mut().enumerate() {
            if n >= 16 {
                if has(HI16_ZMM) {
                    zmm.copy_from_slice(&area[self.hi16 + 64 * (n - 16)..][..64]);
                }
                continue;
            }
            if has(SSE) {
                zmm[..16].copy_from_slice(&area[160 + 16 * n..][..16]);
            }
            if has(AVX) {
                zmm[16..32].copy_from_slice(&area[self.ymm + 16 * n..][..16]);
            }
            if has(ZMM_HI256) {
                zmm[32..].copy_from_slice(&area[self.zmm_hi + 32 * n..][..32]);
            }
        }
        if has(OPMASK) {
            for (n, k) in vectors.k.iter_mut().enumerate() {
                *k = u64_at(area, self.opmask + 8 * n);
            }
        }
        vectors
    }

    fn if_has(&self, component: u64, store: impl FnOnce()) {
        if self.features & component != 0 {
            store();
        }
    }
}

fn u64_at(area: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(area[at..at + 8].try_into().expect("eight bytes"))
}

fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    area[at..at + bytes.len()].copy_from_slice(bytes);
}
