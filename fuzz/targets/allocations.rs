//! Counts what is allocated, and ends the process where an input takes too much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An input is this long at most; `cargo xtask fuzz` says the same to libFuzzer.
const LONGEST_INPUT: usize = 4 << 20;
/// What the emulator may hold for one input, with all the rows that it stored: SQL can double a table with every statement, until its
/// time is over.
const MOST: usize = 10 * LONGEST_INPUT;

/// The system's allocator, counted.
pub struct Counted;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// From now on no more than the limit may be added to what is there.
pub fn begin() {
    LIMIT.store(LIVE.load(Ordering::Relaxed) + MOST, Ordering::Relaxed);
}

/// Between two inputs libFuzzer allocates what it likes.
pub fn end() {
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}

fn add(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    let limit = LIMIT.load(Ordering::Relaxed);
    if live > limit {
        // The message allocates too.
        end();
        panic!(
            "{bytes} bytes more make {} over the limit of {MOST}",
            live - limit
        );
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while it copies.
        add(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
