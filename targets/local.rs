//! The time of day where this machine is.

#![allow(unsafe_code, reason = "localtime_r")]

/// Returns how far local time is ahead of UTC at a moment, in seconds; the moment in seconds from the
/// beginning of 1970. As TZ or /etc/localtime says.
#[must_use]
pub fn ahead_of_utc(moment: i64) -> i64 {
    #[allow(deprecated, reason = "it is 64 bits wide wherever xol runs")]
    let moment: libc::time_t = moment as libc::time_t;
    let mut broken = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live locals, and localtime_r writes no more than a tm.
    let done = unsafe { libc::localtime_r(&moment, broken.as_mut_ptr()) };
    if done.is_null() {
        return 0;
    }
    // SAFETY: zeroed, a tm is valid: numbers and a null pointer.
    let broken = unsafe { broken.assume_init() };
    broken.tm_gmtoff
}
