//! A place that is wanted as a site, before it is one.

use crate::engine::ConsumerId;
use crate::engine::SiteId;
use crate::symbols::Object;
use std::ops::Range;
use xol_arch::{Addr, Reject};

/// One site that is wanted.
#[derive(Clone, Debug)]
pub(in crate::trace) struct Want {
    pub(in crate::trace) addr: Addr,
    pub(in crate::trace) consumer: ConsumerId,
    /// The function's addresses, or a window: what planning may look at.
    pub(in crate::trace) extent: Range<u64>,
    /// The function's addresses, if known.
    pub(in crate::trace) function: Option<(Addr, Addr)>,
    /// Whether the page is guarded.
    pub(in crate::trace) guarded: bool,
    /// The bytes that the file has here; empty for memory without a file.
    pub(in crate::trace) file: [u8; 4],
    /// Whether `file` counts.
    pub(in crate::trace) check_file: bool,
}

/// What became of a [`Want`]: the site, or why there is none.
pub(in crate::trace) type Armed = Result<SiteId, Reject>;

/// What to look at for the instruction at `vaddr`; `None` outside code.
pub(in crate::trace) fn want_at(object: &Object, bias: u64, vaddr: u64) -> Option<Want> {
    let extent = object.extent(vaddr).ok()??;
    let function = object.function_at(vaddr).ok()?;
    let mut file = [0; 4];
    let check_file = object.read_code(vaddr, &mut file).is_ok();
    let move_up = |at: u64| at.wrapping_add(bias);
    Some(Want {
        addr: Addr(move_up(vaddr)),
        consumer: ConsumerId::NONE,
        extent: move_up(extent.start)..move_up(extent.end),
        function: function.map(|f| (Addr(move_up(f.start)), Addr(move_up(f.end)))),
        guarded: object.guarded(),
        file,
        check_file,
    })
}
