//! Gives memory back that a worker will not need soon: the pages of code with which it began, and the
//! heap of exchanges that are over.
//!
//! The kernel maps sixteen pages where one is touched, so starting a large program maps megabytes of
//! which the loop of a worker uses a few hundred kilobytes. They are the file's own pages and come back
//! by themselves, one at a time, when they are touched again.
#![expect(unsafe_code, reason = "walks the loaded objects, and asks the C library")]

use std::ffi::{c_int, c_void};

/// Gives back every page of every object that nobody may write, and so nobody has changed.
pub(super) fn give_back_code() {
    // SAFETY: the callback keeps to its contract and stores nothing.
    unsafe { libc::dl_iterate_phdr(Some(object), std::ptr::null_mut()) };
}

/// Gives back what is free of the heap. A C library keeps the most that there ever was, because what is
/// still in use lies behind what is free.
pub(super) fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and free memory is nobody's.
    unsafe {
        libc::malloc_trim(0);
    }
}

unsafe extern "C" fn object(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the loader gives a valid description for the time of the call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: and it says how many headers there are.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    // SAFETY: asks the C library, which knows it without a system call.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Ok(page @ 1..) = u64::try_from(page) else { return 1 };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Only whole pages: the last one may be shared with a segment that is written.
        let start = (info.dlpi_addr + header.p_vaddr).next_multiple_of(page);
        let end = (info.dlpi_addr + header.p_vaddr + header.p_memsz) / page * page;
        if end <= start {
            continue;
        }
        let (at, len) = (start as *mut c_void, (end - start) as usize);
        // SAFETY: the pages belong to a segment that is mapped from a file and was never writable, so
        // that what is read there next time is what was read there before.
        unsafe {
            libc::madvise(at, len, libc::MADV_RANDOM);
            libc::madvise(at, len, libc::MADV_DONTNEED);
        }
    }
    0
}
