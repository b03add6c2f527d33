//! A call made with the program's own instructions, where no stub can be written.
//!
//! Every libc has a system call that a return follows, and the code that signal handlers return
//! to. The thread is put on the former; the return leads it to the latter, which finds the frame.
//! So the call rights itself as the stub's does, if xol dies between any two instructions, and
//! no byte of the text is changed. Writing a stub where threads may come would not: a thread that
//! comes there when xol is dead finds it, and nothing tells that none comes (RULES A3c).

use super::procfs::Mapping;
use super::space::Space;
use crate::native;
use xol_arch::Addr;

/// Where a call is made, and what brings the thread back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stub {
    /// The instruction that makes the call.
    pub at: Addr,
    /// Where the return behind it leads, where that is not code of the stub's own.
    pub returns_to: Option<Addr>,
}

impl Stub {
    /// The call stub, written at `at`.
    pub(super) fn written(at: Addr) -> Stub {
        Stub { at, returns_to: None }
    }
}

impl Space {
    /// The program's own call and handlers' return, in code that is nobody's to change.
    pub(super) fn own_stub(&self, maps: &[Mapping]) -> Option<Stub> {
        let (mut call, mut returns) = (None, None);
        for m in maps {
            let of_file = m.inode != 0 || m.name == "[vdso]";
            if !m.perms.exec || m.perms.write || m.perms.shared || !of_file {
                continue;
            }
            let mut code = vec![0; (m.end.0 - m.start.0) as usize];
            let n = self.read_some(m.start, &mut code).unwrap_or(0);
            let find = |wanted: &[u8]| Some(m.start.add(position(&code[..n], wanted)? as u64));
            call = call.or_else(|| find(native::CALL_AND_RETURN));
            returns = returns.or_else(|| native::SIGRETURNS.iter().find_map(|code| find(code)));
            if let (Some(at), Some(to)) = (call, returns) {
                return Some(Stub { at, returns_to: Some(to) });
            }
        }
        None
    }
}

/// Where `wanted` begins in `code`, at an address that can hold an instruction.
fn position(code: &[u8], wanted: &[u8]) -> Option<usize> {
    let step = <native::Native as xol_arch::Arch>::INSN_ALIGN as usize;
    let (first, rest) = wanted.split_first()?;
    let begins = (0..code.len().saturating_sub(rest.len())).step_by(step);
    begins.into_iter().find(|&at| code[at] == *first && code[at + 1..].starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::super::procfs;
    use super::super::sys::Pid;
    use super::*;

    #[test]
    fn code_is_found_to_the_last_byte_and_not_beyond() {
        let wanted = native::CALL_AND_RETURN;
        let mut code = vec![0xff; 16];
        code.extend_from_slice(wanted);
        assert_eq!(position(&code, wanted), Some(16));
        assert_eq!(position(&code[..code.len() - 1], wanted), None);
        assert_eq!(position(&[], wanted), None);
    }

    #[test]
    fn this_program_has_what_it_takes() {
        let pid = Pid(std::process::id() as i32);
        let space = Space::open(pid).expect("our own memory");
        let stub = space.own_stub(&procfs::maps(pid).expect("our own mappings")).expect("libc");
        let mut code = vec![0; native::CALL_AND_RETURN.len()];
        space.read(stub.at, &mut code).expect("code");
        assert_eq!(code, native::CALL_AND_RETURN);
        assert!(stub.returns_to.is_some_and(|to| to != stub.at));
    }
}
