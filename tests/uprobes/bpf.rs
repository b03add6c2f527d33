//! bpf(2): a map of counters, a program that counts, links that hold it at uprobes.
//!
//! # Safety
//! The kernel reads and writes what a request points to, for the length of the call and with
//! the sizes that the request or the map names; every request here points to live buffers of
//! at least those sizes.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::VALUES;
use super::insns::program;

// Commands and constants of <linux/bpf.h>; libc does not have them.
const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const PROG_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_KPROBE: u32 = 2;
const TRACE_UPROBE_MULTI: u32 = 48;
const UPROBE_MULTI_RETURN: u32 = 1;

/// A map of one u64 for each u32 key below its size.
#[repr(C)]
#[derive(Default)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    prog_type: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkUprobes {
    prog: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    _pad: u32,
}

/// One request; its answer is a descriptor, 0, or the errno.
fn bpf<T>(command: u32, request: &T) -> Result<i32, i32> {
    let size = size_of::<T>();
    // SAFETY: `request` is alive and `size` bytes long; what it points to: see the module.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(request), size) };
    let failed = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    i32::try_from(answer).ok().filter(|&a| a >= 0).ok_or_else(failed)
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).cast::<u8>() as u64
}

fn fd(of: &OwnedFd) -> u32 {
    of.as_raw_fd().cast_unsigned()
}

/// An array of counters.
struct Array(OwnedFd);

impl Array {
    fn new(len: usize) -> Result<Array, i32> {
        let max_entries = u32::try_from(len.max(1)).map_err(|_| libc::E2BIG)?;
        let request = CreateMap {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries,
            ..CreateMap::default()
        };
        bpf(MAP_CREATE, &request).map(|fd| Array(own(fd)))
    }

    fn get(&self, n: usize) -> u64 {
        let key = u32::try_from(n).expect("within the map");
        let mut value = 0u64;
        let request = Element {
            map: fd(&self.0),
            key: address(&key),
            value: std::ptr::from_mut(&mut value) as u64,
            ..Element::default()
        };
        bpf(MAP_LOOKUP_ELEM, &request).expect("an array has every key below its length");
        value
    }

    fn set(&self, n: usize, value: u64) {
        let key = u32::try_from(n).expect("within the map");
        let request = Element {
            map: fd(&self.0),
            key: address(&key),
            value: address(&value),
            ..Element::default()
        };
        bpf(MAP_UPDATE_ELEM, &request).expect("an array has every key below its length");
    }
}

/// A program that counts, with its counters.
pub(super) struct Probe {
    program: OwnedFd,
    counts: Array,
    values: Option<Array>,
    pid: u32,
}

/// Uprobes that stay as long as this lives.
pub(super) struct Link {
    _fd: OwnedFd,
}

impl Probe {
    /// For `sites` sites in process `pid`.
    pub(super) fn new(pid: u32, sites: usize, returns: bool) -> io::Result<Probe> {
        let make = || {
            let counts = Array::new(sites)?;
            let values = if returns { Some(Array::new(sites * VALUES)?) } else { None };
            let keep = u32::try_from(VALUES).expect("small");
            let code = program(
                pid,
                counts.0.as_raw_fd(),
                values.as_ref().map(|v| (v.0.as_raw_fd(), keep)),
            );
            let license = c"Dual MIT/GPL";
            let mut log = vec![0u8; 1 << 16];
            let request = LoadProgram {
                prog_type: PROG_TYPE_KPROBE,
                insn_count: u32::try_from(code.len()).map_err(|_| libc::E2BIG)?,
                insns: address(code.as_slice()),
                license: license.as_ptr() as u64,
                log_level: 1,
                log_size: 1 << 16,
                log: log.as_mut_ptr() as u64,
                expected_attach_type: TRACE_UPROBE_MULTI,
                ..LoadProgram::default()
            };
            let program = bpf(PROG_LOAD, &request).inspect_err(|_| {
                eprintln!("{}", String::from_utf8_lossy(&log));
            })?;
            Ok(Probe { program: own(program), counts, values, pid })
        };
        make().map_err(io::Error::from_raw_os_error)
    }

    /// Puts it at every (offset, cookie) of `object`, or nowhere.
    pub(super) fn attach(&self, object: &Path, sites: &[(u64, u64)]) -> Result<Link, i32> {
        let path = CString::new(object.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
        let offsets: Vec<u64> = sites.iter().map(|s| s.0).collect();
        let cookies: Vec<u64> = sites.iter().map(|s| s.1).collect();
        let request = LinkUprobes {
            prog: fd(&self.program),
            attach_type: TRACE_UPROBE_MULTI,
            path: path.as_ptr() as u64,
            offsets: address(offsets.as_slice()),
            cookies: address(cookies.as_slice()),
            count: u32::try_from(sites.len()).map_err(|_| libc::E2BIG)?,
            multi_flags: if self.values.is_some() { UPROBE_MULTI_RETURN } else { 0 },
            pid: self.pid,
            ..LinkUprobes::default()
        };
        bpf(LINK_CREATE, &request).map(|fd| Link { _fd: own(fd) })
    }

    /// Forgets the hits of a site.
    pub(super) fn reset(&self, site: usize) {
        self.counts.set(site, 0);
    }

    pub(super) fn hits(&self, site: usize) -> u64 {
        self.counts.get(site)
    }

    pub(super) fn values(&self, site: usize, hits: u64) -> Vec<u64> {
        let kept = usize::try_from(hits).unwrap_or(VALUES).min(VALUES);
        let values = self.values.as_ref();
        values.map_or_else(Vec::new, |v| (0..kept).map(|n| v.get(site * VALUES + n)).collect())
    }
}
