use std::ops::Range;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::panels::Block;
use crate::simd::Isa;

/// What computes: an instruction set and a number of threads. Neither changes a single bit of any result.
#[derive(Debug)]
pub struct Compute {
    isa: Isa,
    pool: Option<ThreadPool>,
}

impl Compute {
    /// One thread.
    #[must_use]
    pub fn single(isa: Isa) -> Self {
        Self { isa, pool: None }
    }

    /// `threads` threads, or as many of them as the operating system grants.
    #[must_use]
    pub fn new(isa: Isa, threads: usize) -> Self {
        let pool = (threads > 1)
            .then(|| ThreadPoolBuilder::new().num_threads(threads).build().ok())
            .flatten();
        Self { isa, pool }
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, ThreadPool::current_num_threads)
    }

    /// Runs `work` inside the pool, so that the kernels called in it need not wake it each time.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `work` on ranges that together are `0..count`, one after another or side by side. A range is shorter than
    /// `least` only if `count` is.
    pub(crate) fn split(&self, count: usize, least: usize, work: impl Fn(Range<usize>) + Sync) {
        let parts = self.threads().min(count / least.max(1)).max(1);
        if parts == 1 {
            return work(0..count);
        }
        self.run(|| {
            halve(0..parts, &|part| {
                work(part * count / parts..(part + 1) * count / parts)
            })
        });
    }
}

fn halve(parts: Range<usize>, work: &(impl Fn(usize) + Sync)) {
    if parts.len() == 1 {
        return work(parts.start);
    }
    let middle = parts.start + parts.len() / 2;
    rayon::join(
        || halve(parts.start..middle, work),
        || halve(middle..parts.end, work),
    );
}

/// A pointer that several threads write through, each to places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: the kernels that make one give every thread rows or panels of its own.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn of_blocks(blocks: &mut [Block<T>]) -> Self {
        Self(blocks.as_mut_ptr().cast::<T>())
    }

    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub(crate) fn from_const(pointer: *const T) -> Self {
        Self(pointer.cast_mut())
    }

    #[inline(always)]
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}
