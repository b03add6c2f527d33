//! Consumers: the rows, ends of calls, and uses of xol's own that a hit of a site is for.

use crate::WhyNotJump;
use crate::engine::ConsumerId;
use crate::engine::RowId;
use crate::spec::{Condition, Signature};
use crate::symbols::{BuildId, Go, Object};
use crate::trace::rows::fails::ErrorOf;
use crate::trace::space::objects::FileId;
use std::rc::Rc;
use std::sync::Arc;
use xol_arch::{Arch as _, ArgPlace, Convention, Reject, Strategy};
use xol_targets::Native;

/// What a hit of a site means.
#[derive(Clone, Debug)]
pub(in crate::trace) enum Consumer {
    /// One more for this row.
    Row(RowId),
    /// A function of this row was entered: its return is of interest.
    Entered(RowId),
    /// A call may return here.
    Returned,
    /// A RET of a function of this row.
    Exit(RowId),
    /// A jump that may leave a function of this row.
    Leave(RowId),
    /// A call whose function may be left by a tail call.
    Called,
    /// The loader has mapped something.
    Mapped,
    /// The program is about to set a signal's action: on the call itself, where the result takes
    /// the place of an argument.
    SettingAction,
    /// The program may have set SIGTRAP's action: behind the call.
    ActionSet,
    /// The program is about to make a call by syscall(2), which makes any.
    AnyCaller,
    /// The same at the instruction, where such a call has once been of interest.
    AnyCall,
    /// Behind such a call, where it has once set SIGTRAP's action or moved text.
    AnyCalled,
    /// The program is about to call ptrace(2).
    Tracing,
    /// The program is about to change how memory may be accessed.
    Protecting,
    /// The program is about to move memory.
    Moving,
    /// It has, perhaps.
    Moved,
    /// Nobody is: a jump begins here that has a RET in it.
    RunUp,
    /// An IFUNC resolver was entered: what it returns is what these rows are about.
    Resolver(Rc<Resolver>),
}

impl Consumer {
    /// When it is told, of several at one site: a function of one instruction is entered before
    /// it is left.
    pub(in crate::trace) fn turn(&self) -> u8 {
        match self {
            Consumer::Exit(_) | Consumer::Leave(_) | Consumer::Called => 2,
            Consumer::Entered(_) => 1,
            _ => 0,
        }
    }
}

/// What is to be armed when a resolver has returned.
#[derive(Debug)]
pub(in crate::trace) struct Resolver {
    /// The rows whose function it chooses.
    pub(in crate::trace) rows: Vec<RowId>,
}

/// Names a row: probe, file, address in it, entry or return.
pub(in crate::trace) type RowKey = (u32, FileId, u64, bool);

/// One line of a report: a probe at a place.
#[derive(Clone, Debug)]
pub struct Row {
    /// Number of the probe on the command line.
    pub probe: usize,
    /// The object's path.
    pub object: Arc<str>,
    /// The object's build-id.
    pub build_id: Option<BuildId>,
    /// The function's name as one writes it in a PROBE; empty where there is none.
    pub symbol: Arc<str>,
    /// The symbol itself, where that is another name.
    pub mangled: Option<Arc<str>>,
    /// Bytes behind the function's start.
    pub offset: u64,
    /// The address in the file.
    pub addr: u64,
    /// Whether it is about returns.
    pub is_return: bool,
    /// How hits are taken, or why they cannot be.
    pub state: RowState,
    /// Why the last site that it was armed at is no jump, if that was asked.
    pub(in crate::trace) no_jump: Option<WhyNotJump>,
    /// The types of its arguments and of what it returns, if known.
    pub signature: Option<Arc<Signature>>,
    /// How its function is called.
    pub(in crate::trace) calls: Calls,
    /// Where the arguments of its signature are; none where that is not known.
    pub(in crate::trace) places: Arc<[ArgPlace]>,
    /// Whether its arguments are registers at an instruction.
    pub(in crate::trace) registers: bool,
    /// What must hold of its arguments.
    pub(in crate::trace) condition: Option<Arc<Condition>>,
    /// How its function tells which error it was, of one of libc's that is told when it returns.
    pub(in crate::trace) error: Option<ErrorOf>,
    /// Its counter.
    pub(in crate::trace) consumer: ConsumerId,
    /// How far its sites are behind its address, in bytes: behind landing pads.
    pub(in crate::trace) behind: u64,
}

/// How a function is called: which registers its arguments are in, and whether its stack may move
/// while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::trace) enum Calls {
    /// As C's ABI has it.
    C,
    /// As Go has it.
    Go,
    /// Go's assembly.
    GoAssembly,
    /// An older Go.
    Unknown,
}

impl Calls {
    /// How `symbol` of `object` is called.
    pub(in crate::trace) fn of(object: &Object, symbol: &str) -> Calls {
        match object.go() {
            Some(_) if !Go::compiled(symbol) => Calls::C,
            Some(Go::Registers) if Go::assembled(symbol) => Calls::GoAssembly,
            Some(Go::Registers) => Calls::Go,
            Some(Go::Older) => Calls::Unknown,
            None => Calls::C,
        }
    }

    /// Where the arguments of a signature are.
    pub(in crate::trace) fn places(self, signature: Option<&Signature>) -> Arc<[ArgPlace]> {
        let convention: Convention = match self {
            Calls::C => Native::CONVENTION,
            Calls::Go => Native::GO,
            Calls::GoAssembly => Native::GO.on_stack(),
            Calls::Unknown => return Arc::default(),
        };
        let args = signature.into_iter().flat_map(|signature| &signature.args);
        convention.places(args.map(|arg| (arg.ty.is_float(), arg.ty.size()))).collect()
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowState {
    /// Not armed yet: an IFUNC that has not been resolved.
    Waiting,
    /// Armed in one process at least, with this strategy.
    Armed(Strategy),
    /// Rejected.
    Rejected(Reject),
}
