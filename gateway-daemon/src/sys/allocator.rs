//! The process's allocator: mimalloc, and a few blocks of two sizes that are used again at once. Why:
//! `docs/decisions/0099-blocks-of-records.md`.
#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;

use mimalloc::MiMalloc;

/// The length of a buffer for a bulk read. Buffers of exactly this length are used again at once.
pub const BULK_BYTES: usize = 256 << 10;

/// What rustls asks for to seal a full record: 16 KiB with header, type and tag, and some more.
const RECORDS: Class = Class { least: (16 << 10) + 1, most: (16 << 10) + 512, offset: PAGE / 2 };
const BULK: Class = Class { least: BULK_BYTES, most: BULK_BYTES, offset: 0 };
/// What a block may be aligned to.
const ALIGN: usize = 16;
const PAGE: usize = 4096;
/// Blocks of a class that a thread keeps: for records, as many as one write of rustls has, and as
/// many again.
const KEPT: usize = 8;

/// A range of sizes that the same blocks serve.
struct Class {
    least: usize,
    /// The size of every block, whatever was asked for.
    most: usize,
    /// Where in a page a block begins: records far from where those buffers begin that they are made
    /// of. Some CPUs take a load for one of bytes that were just stored where the lowest twelve bits
    /// of both addresses are close.
    offset: usize,
}

thread_local! {
    static BLOCKS: Blocks = const { Blocks(UnsafeCell::new([Kept::NONE, Kept::NONE])) };
}

/// The blocks of a thread, per class. They stay when it ends: threads of the data path live as long
/// as the process.
struct Blocks(UnsafeCell<[Kept; 2]>);

/// The blocks of one class that nobody uses; the last one is the next.
struct Kept {
    blocks: [*mut u8; KEPT],
    count: usize,
}

impl Kept {
    const NONE: Self = Self { blocks: [ptr::null_mut(); KEPT], count: 0 };

    fn pop(&mut self) -> Option<*mut u8> {
        self.count = self.count.checked_sub(1)?;
        Some(self.blocks[self.count])
    }

    /// Whether there was room.
    fn push(&mut self, block: *mut u8) -> bool {
        let Some(place) = self.blocks.get_mut(self.count) else { return false };
        *place = block;
        self.count += 1;
        true
    }
}

impl Class {
    fn of(layout: Layout) -> Option<&'static Self> {
        let has = |class: &Self| class.least <= layout.size() && layout.size() <= class.most;
        if layout.size() < RECORDS.least || layout.align() > ALIGN {
            return None;
        }
        if has(&RECORDS) {
            return Some(&RECORDS);
        }
        has(&BULK).then_some(&BULK)
    }

    /// The layout that every block is allocated with.
    fn layout(&self) -> Layout {
        // SAFETY: the alignment is a power of two, and the size is far from overflowing.
        unsafe { Layout::from_size_align_unchecked(self.offset + self.most, PAGE) }
    }

    /// Does something with this thread's blocks; nothing where it is about to end.
    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let index = usize::from(self.least == BULK.least);
        // SAFETY: the cell is this thread's alone, and `act`, `Kept`'s `pop` or `push`, neither
        // allocates nor comes back here, so that there is one reference at a time.
        BLOCKS.try_with(|blocks| act(unsafe { &mut (*blocks.0.get())[index] })).ok()
    }

    fn take(&self) -> *mut u8 {
        self.with(Kept::pop).flatten().unwrap_or_else(|| self.allocate())
    }

    fn allocate(&self) -> *mut u8 {
        // SAFETY: the layout has a size.
        let base = unsafe { MiMalloc.alloc(self.layout()) };
        if base.is_null() {
            return base;
        }
        // SAFETY: the offset is inside of what was allocated.
        unsafe { base.add(self.offset) }
    }

    /// Keeps a block, or gives it back.
    ///
    /// # Safety
    ///
    /// It is from `take`, and nobody uses it.
    unsafe fn give(&self, block: *mut u8) {
        if self.with(|kept| kept.push(block)) != Some(true) {
            // SAFETY: the allocation begins so far before, and had this layout.
            unsafe { MiMalloc.dealloc(block.sub(self.offset), self.layout()) }
        }
    }
}

/// Whether `malloc` itself aligns enough: mimalloc's, as C demands of any, aligns for all that fits into
/// what was asked for, up to [`ALIGN`]. Asked for an alignment, mimalloc looks first whether the next
/// block of that size happens to have it, and else takes a longer one.
fn is_plain(layout: Layout) -> bool {
    layout.align() <= ALIGN && layout.align() <= layout.size()
}

/// mimalloc, asked in the shortest way.
struct Plain;

// SAFETY: memory is mimalloc's, aligned as `is_plain` says where no alignment is asked for. What gives
// memory back does not depend on how it was asked for.
unsafe impl GlobalAlloc for Plain {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_plain(layout) {
            // SAFETY: any size may be asked for.
            return unsafe { libmimalloc_sys::mi_malloc(layout.size()).cast() };
        }
        // SAFETY: as our caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_plain(layout) {
            // SAFETY: any size may be asked for.
            return unsafe { libmimalloc_sys::mi_zalloc(layout.size()).cast() };
        }
        // SAFETY: as our caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= ALIGN && layout.align() <= size {
            // SAFETY: the memory is mimalloc's, as our caller promises; any size may be asked for.
            return unsafe { libmimalloc_sys::mi_realloc(memory.cast(), size).cast() };
        }
        // SAFETY: as our caller promises.
        unsafe { MiMalloc.realloc(memory, layout, size) }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: memory is mimalloc's. What falls into a class is always one of its blocks, which is long and
// aligned enough for all that does; each is in one place only: with who allocated it, or kept.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            Some(class) => class.take(),
            // SAFETY: as our caller promises.
            None => unsafe { Plain.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: as our caller promises.
            return unsafe { Plain.alloc_zeroed(layout) };
        };
        let memory = class.take();
        if !memory.is_null() {
            // SAFETY: a block is at least that long.
            unsafe { ptr::write_bytes(memory, 0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: all that falls into the class is from `take`, and our caller is done with it.
            Some(class) => unsafe { class.give(memory) },
            // SAFETY: as our caller promises.
            None => unsafe { Plain.dealloc(memory, layout) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: our caller promises that the size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if Class::of(layout).is_none() && Class::of(wanted).is_none() {
            // SAFETY: as our caller promises.
            return unsafe { Plain.realloc(memory, layout, size) };
        }
        // SAFETY: the new memory is another one and as long as `size`; the old one is as long as its
        // layout says, and is given back once.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(memory, moved, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allocates, fills, and gives back what it found in `bytes` bytes.
    fn allocate(bytes: usize) -> (*mut u8, Layout) {
        let layout = Layout::from_size_align(bytes, 8).unwrap();
        // SAFETY: the size is not zero, and the memory is that long.
        unsafe {
            let memory = Allocator.alloc(layout);
            assert!(!memory.is_null());
            ptr::write_bytes(memory, 0xa5, bytes);
            (memory, layout)
        }
    }

    fn free((memory, layout): (*mut u8, Layout)) {
        // SAFETY: from `allocate`, and given back once.
        unsafe { Allocator.dealloc(memory, layout) }
    }

    #[test]
    fn a_block_serves_the_next_record_of_any_size() {
        let first = allocate(16_406);
        free(first);
        let second = allocate(RECORDS.most);
        assert_eq!(first.0, second.0);
        let third = allocate(16_385);
        assert_ne!(second.0, third.0);
        free(second);
        free(third);
        // SAFETY: the layout has a size.
        let zeroed = unsafe { Allocator.alloc_zeroed(third.1) };
        // SAFETY: it is that long, and given back once.
        unsafe {
            assert!(std::slice::from_raw_parts(zeroed, 16_385).iter().all(|byte| *byte == 0));
            Allocator.dealloc(zeroed, third.1);
        }
    }

    #[test]
    fn a_thread_keeps_a_few_blocks_and_no_more() {
        let blocks: Vec<_> = (0..KEPT + 3).map(|_| allocate(16_406)).collect();
        let kept: Vec<_> = blocks.iter().take(KEPT).map(|block| block.0).collect();
        blocks.into_iter().for_each(free);
        let again: Vec<_> = (0..KEPT).map(|_| allocate(16_406)).collect();
        assert!(again.iter().all(|block| kept.contains(&block.0)));
        again.into_iter().for_each(free);
    }

    #[test]
    fn memory_is_aligned_as_asked_for() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in (1..300).chain([1_000, 1_025, 4_000, 5_000, 100_000]) {
                let layout = Layout::from_size_align(size, align).unwrap();
                // Some at once, so that not only the first block of a page is looked at.
                // SAFETY: the layouts have a size; all is given back once, as it was asked for last.
                unsafe {
                    let some: Vec<_> = (0..5).map(|_| Allocator.alloc(layout)).collect();
                    let grown = some.into_iter().map(|memory| {
                        assert_eq!(memory.addr() % align, 0, "{size} {align}");
                        let memory = Allocator.realloc(memory, layout, size + 7);
                        assert_eq!(memory.addr() % align, 0, "{size} {align}, grown");
                        let zeroed = Allocator.alloc_zeroed(layout);
                        assert_eq!(zeroed.addr() % align, 0, "{size} {align}, zeroed");
                        Allocator.dealloc(zeroed, layout);
                        memory
                    });
                    let layout = Layout::from_size_align(size + 7, align).unwrap();
                    for memory in grown.collect::<Vec<_>>() {
                        Allocator.dealloc(memory, layout);
                    }
                }
            }
        }
    }

    #[test]
    fn a_buffer_for_bulk_serves_the_next_one() {
        let first = allocate(BULK_BYTES);
        free(first);
        free(allocate(BULK_BYTES - 1));
        let second = allocate(BULK_BYTES);
        assert_eq!(first.0, second.0);
        free(second);
    }

    #[test]
    fn memory_keeps_its_bytes_when_it_becomes_a_record_or_ceases_to_be_one() {
        for (from, to) in [
            (100, 16_400),
            (16_400, 100),
            (16_400, 16_500),
            (16_400, 40_000),
            (100, BULK_BYTES),
            (BULK_BYTES, 16_400),
        ] {
            let (memory, layout) = allocate(from);
            // SAFETY: as `GlobalAlloc` demands; the memory is as long as asked for.
            unsafe {
                let moved = Allocator.realloc(memory, layout, to);
                let same = std::slice::from_raw_parts(moved, from.min(to));
                assert!(same.iter().all(|byte| *byte == 0xa5), "{from} {to}");
                Allocator.dealloc(moved, Layout::from_size_align(to, 8).unwrap());
            }
        }
    }
}
