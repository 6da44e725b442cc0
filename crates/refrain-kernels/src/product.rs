//! Matrix products. Every element of a result is one chain of fused multiply-adds that starts from what stood there;
//! blocks, tiles and threads only decide when a part of the chain is computed, never its order.

use crate::cells::Cell;
use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Packed, Panels};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes, Registers};

/// Inputs of a panel that are worked through before the next rows: 256 blocks of `f32` are 16 KiB, half of the
/// first-level cache.
const DEPTH_BLOCK: usize = 256;
/// Numbers of the left factor that are worked through before the next ones: 128 KiB of `f32`, so that they stay in the
/// second-level cache while all panels of the right factor pass by.
const SECOND_LEVEL: usize = 32_768;
/// Terms of a chain that are worked through at once where it is long, so that [`SECOND_LEVEL`] holds many rows: a weight that
/// comes from memory is used for all of them.
const DEEP: usize = 256;

/// A two-level walk along the chain: `outer` runs of `inner` terms, with the distances between terms.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub(crate) outer: usize,
    pub(crate) a_outer: isize,
    pub(crate) b_outer: isize,
    pub(crate) inner: usize,
    pub(crate) a_inner: usize,
    pub(crate) b_inner: usize,
}

/// Where the terms of a chain stand in both factors.
pub(crate) trait Chain: Copy {
    /// Runs of terms.
    fn runs(self) -> usize;

    /// Where the terms of a run begin in both factors, and how many there are.
    fn run(self, at: usize) -> (isize, isize, usize);

    /// The distance between two terms of a run in both factors.
    fn steps(self) -> (usize, usize);
}

impl Chain for Walk {
    #[inline(always)]
    fn runs(self) -> usize {
        self.outer
    }

    #[inline(always)]
    fn run(self, at: usize) -> (isize, isize, usize) {
        let at = at.cast_signed();
        (at * self.a_outer, at * self.b_outer, self.inner)
    }

    #[inline(always)]
    fn steps(self) -> (usize, usize) {
        (self.a_inner, self.b_inner)
    }
}

/// Rows of two matrices, run by run.
impl Chain for &[RowRun] {
    #[inline(always)]
    fn runs(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn run(self, at: usize) -> (isize, isize, usize) {
        let RowRun { a, b, rows } = self[at];
        ((a * GROUP).cast_signed(), (b * GROUP).cast_signed(), rows)
    }

    #[inline(always)]
    fn steps(self) -> (usize, usize) {
        (GROUP, GROUP)
    }
}

/// `C[r][p] += Σ A[r][k] * B[k][p]` for `R` rows and `P` panels held in registers.
#[inline(always)]
unsafe fn tile<V: Lanes, C: Chain, const R: usize, const P: usize>(
    c: *mut V::Scalar,
    (c_row, c_panel): (usize, usize),
    a: *const V::Scalar,
    a_row: usize,
    b: *const V::Scalar,
    b_panel: usize,
    walk: C,
) {
    // SAFETY: the caller promises that all places named by the strides are inside their buffers.
    unsafe {
        let mut sums = [[V::splat(V::Scalar::ZERO); P]; R];
        for r in 0..R {
            for p in 0..P {
                sums[r][p] = V::load(c.add(r * c_row + p * c_panel));
            }
        }
        let (a_step, b_step) = walk.steps();
        for at in 0..walk.runs() {
            let (a_start, b_start, terms) = walk.run(at);
            let (mut a_k, mut b_k) = (a.wrapping_offset(a_start), b.wrapping_offset(b_start));
            for _ in 0..terms {
                let mut panel = [V::splat(V::Scalar::ZERO); P];
                for p in 0..P {
                    panel[p] = V::load(b_k.add(p * b_panel));
                }
                for r in 0..R {
                    let x = V::splat(*a_k.add(r * a_row));
                    for p in 0..P {
                        sums[r][p] = x.mul_add(panel[p], sums[r][p]);
                    }
                }
                a_k = a_k.wrapping_add(a_step);
                b_k = b_k.wrapping_add(b_step);
            }
        }
        for r in 0..R {
            for p in 0..P {
                sums[r][p].store(c.add(r * c_row + p * c_panel));
            }
        }
    }
}

/// `rows` rows of some neighbouring panels, tile by tile; the rows of the tiles differ by one at most.
#[inline(always)]
pub(crate) unsafe fn tiles<V: Lanes, C: Chain>(
    rows: usize,
    panels: usize,
    c: *mut V::Scalar,
    c_stride: (usize, usize),
    a: *const V::Scalar,
    a_row: usize,
    b: *const V::Scalar,
    b_panel: usize,
    walk: C,
) {
    let mut panel = 0;
    while panel < panels {
        let left = panels - panel;
        // Few rows: several panels at once, or the chains would wait for each other.
        let wide = match rows {
            _ if const { V::TILE.0 == 1 } => 1,
            1 => 4.min(left),
            2 | 3 => 2.min(left),
            _ => V::TILE.1.min(left),
        };
        // SAFETY: as in `tile`; the row offsets stay within `rows`.
        unsafe {
            let (c, b) = (c.add(panel * c_stride.1), b.add(panel * b_panel));
            let count = rows.div_ceil(V::TILE.0);
            let mut row = 0;
            for at in 0..count {
                let end = (at + 1) * rows / count;
                let (c, a) = (c.add(row * c_stride.0), a.add(row * a_row));
                sized_tile::<V, C>((end - row, wide), c, c_stride, a, a_row, b, b_panel, walk);
                row = end;
            }
        }
        panel += wide;
    }
}

/// The tile of a size that [`tiles`] asks for; sizes for which these lanes have no registers are not even compiled.
#[inline(always)]
unsafe fn sized_tile<V: Lanes, C: Chain>(
    size: (usize, usize),
    c: *mut V::Scalar,
    c_stride: (usize, usize),
    a: *const V::Scalar,
    a_row: usize,
    b: *const V::Scalar,
    b_panel: usize,
    walk: C,
) {
    macro_rules! one_of {
        ($(($rows:literal, $panels:literal))*) => {
            match size {
                $(($rows, $panels) => {
                    // SAFETY: as in `tile`.
                    unsafe { tile::<V, C, $rows, $panels>(c, c_stride, a, a_row, b, b_panel, walk) }
                })*
                _ => unreachable!("a tile of {size:?}"),
            }
        };
    }
    if const { V::TILE.0 == 1 } {
        one_of!((1, 1))
    } else if const { V::TILE.1 == 1 } {
        one_of!((1, 4)(1, 3)(1, 2)(2, 2)(3, 2)(1, 1)(2, 1)(3, 1)(4, 1)(5, 1)(6, 1))
    } else {
        one_of!(
            (1, 4)(1, 3)(1, 2)(2, 2)(3, 2)(4, 2)(5, 2)(6, 2)(7, 2)(8, 2)(9, 2)(10, 2)(11, 2)(12, 2)(
                1, 1
            )(2, 1)(3, 1)(4, 1)(5, 1)(6, 1)(7, 1)(8, 1)(9, 1)(10, 1)(11, 1)(12, 1)
        )
    }
}

/// Rows of a [`Panels`] matrix as the left factor of a product, along all columns or a run of groups.
#[derive(Clone, Copy)]
pub(crate) struct Left<T> {
    /// The first number of the first row.
    pub(crate) start: *const T,
    /// Numbers between groups: `16 * rows` of the matrix.
    pub(crate) group_stride: usize,
    /// Terms in the chain.
    pub(crate) depth: usize,
}

/// `C += A · W` for some rows and neighbouring panels. `w` is the first panel; panels of `C` are `c_panel` apart.
#[inline(always)]
pub(crate) unsafe fn panel_product<V: Lanes>(
    rows: usize,
    panels: usize,
    c: *mut V::Scalar,
    c_panel: usize,
    left: Left<V::Scalar>,
    w: *const V::Scalar,
    w_panel: usize,
) {
    // SAFETY: the caller promises that rows, panels and depth lie inside the buffers; where the lanes are an instruction
    // set's registers, the numbers are `f32` and the processor has it.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if const { !matches!(V::REGISTERS, Registers::None) } {
            let left = Left {
                start: left.start.cast::<f32>(),
                group_stride: left.group_stride,
                depth: left.depth,
            };
            let (c, w) = (c.cast(), w.cast());
            return if const { matches!(V::REGISTERS, Registers::Avx512) } {
                panel_product_avx512(rows, panels, c, c_panel, left, w, w_panel)
            } else {
                panel_product_avx2(rows, panels, c, c_panel, left, w, w_panel)
            };
        }
        panel_product_in::<V>(rows, panels, c, c_panel, left, w, w_panel);
    }
}

/// The register tiles of an instruction set, compiled once for all kernels that use them.
#[cfg(target_arch = "x86_64")]
macro_rules! panel_product_of {
    ($name:ident, $features:literal, $lanes:ty) => {
        #[target_feature(enable = $features)]
        unsafe fn $name(
            rows: usize,
            panels: usize,
            c: *mut f32,
            c_panel: usize,
            left: Left<f32>,
            w: *const f32,
            w_panel: usize,
        ) {
            // SAFETY: as the caller's.
            unsafe {
                panel_product_in::<$lanes>(rows, panels, c, c_panel, left, w, w_panel);
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
panel_product_of!(panel_product_avx2, "avx2,fma", crate::simd::Avx2);
#[cfg(target_arch = "x86_64")]
panel_product_of!(
    panel_product_avx512,
    "avx512f,avx2,fma",
    crate::simd::Avx512
);

#[inline(always)]
unsafe fn panel_product_in<V: Lanes>(
    rows: usize,
    panels: usize,
    c: *mut V::Scalar,
    c_panel: usize,
    left: Left<V::Scalar>,
    w: *const V::Scalar,
    w_panel: usize,
) {
    // One row reads each weight once: blocks would only reload its sums.
    let block = match rows {
        1 => usize::MAX,
        _ => DEPTH_BLOCK / V::TILE.1,
    };
    // Several rows: finish the panels of a tile before the next, so that their block stays in the first-level cache.
    let wide = if rows <= 3 { panels } else { V::TILE.1 };
    // SAFETY: the caller promises that rows, panels and depth lie inside the buffers.
    unsafe {
        let mut panel = 0;
        while panel < panels {
            let step = wide.min(panels - panel);
            let mut k = 0;
            while k < left.depth {
                let depth = block.min(left.depth - k);
                let (whole, rest) = (depth / GROUP, depth % GROUP);
                let a = left.start.add(k / GROUP * left.group_stride);
                let c = c.add(panel * c_panel);
                let w = w.add(panel * w_panel + k * GROUP);
                let walk = Walk {
                    outer: whole,
                    a_outer: left.group_stride.cast_signed(),
                    b_outer: (GROUP * GROUP).cast_signed(),
                    inner: GROUP,
                    a_inner: 1,
                    b_inner: GROUP,
                };
                if whole > 0 {
                    tiles::<V, _>(rows, step, c, (GROUP, c_panel), a, GROUP, w, w_panel, walk);
                }
                if rest > 0 {
                    let walk = Walk {
                        outer: 1,
                        inner: rest,
                        ..walk
                    };
                    let (a, w) = (
                        a.add(whole * left.group_stride),
                        w.add(whole * GROUP * GROUP),
                    );
                    tiles::<V, _>(rows, step, c, (GROUP, c_panel), a, GROUP, w, w_panel, walk);
                }
                k += depth;
            }
            panel += step;
        }
    }
}

struct Product<T> {
    rows: usize,
    panels: usize,
    c: *mut T,
    c_panel: usize,
    left: Left<T>,
    w: *const T,
    w_panel: usize,
    bias: Option<*const T>,
}

impl<T: Scalar> Kernel<T> for Product<T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        let block = (SECOND_LEVEL / self.left.depth.clamp(1, DEEP)).clamp(24, 240);
        let mut row = 0;
        // SAFETY: `product` has checked the sizes and gives each thread rows of its own.
        unsafe {
            while row < self.rows {
                let rows = block.min(self.rows - row);
                for panel in 0..self.panels {
                    let c = self.c.add(panel * self.c_panel + row * GROUP);
                    let start = match self.bias {
                        Some(bias) => V::load(bias.add(panel * GROUP)),
                        None => V::splat(T::ZERO),
                    };
                    for row in 0..rows {
                        start.store(c.add(row * GROUP));
                    }
                }
                let c = self.c.add(row * GROUP);
                for k in (0..self.left.depth).step_by(DEEP) {
                    let group = k / GROUP * self.left.group_stride;
                    let left = Left {
                        start: self.left.start.add(group + row * GROUP),
                        depth: DEEP.min(self.left.depth - k),
                        ..self.left
                    };
                    let w = self.w.add(k * GROUP);
                    let (c_panel, w_panel) = (self.c_panel, self.w_panel);
                    panel_product::<V>(rows, self.panels, c, c_panel, left, w, w_panel);
                }
                row += rows;
            }
        }
    }
}

/// `c = bias + a · w`, row by row; the chain of an element starts from the bias (or 0) and goes along the columns of
/// `a` upwards.
///
/// # Shapes
/// `a`: rows × depth, `w`: panels × depth, `bias`: one block a panel, `c`: rows × (16 · panels, or fewer in the last).
///
/// # Panics
/// If the shapes do not fit.
pub fn product<T: Scalar>(
    compute: &Compute,
    a: &Panels<T>,
    w: &Packed<T>,
    bias: Option<&[Block<T>]>,
    c: &mut Panels<T>,
) {
    T::product(compute, a, w, bias, c)
}

pub(crate) fn product_of<T: Scalar>(
    compute: &Compute,
    a: &Panels<T>,
    w: &Packed<T>,
    bias: Option<&[Block<T>]>,
    c: &mut Panels<T>,
) {
    // A transposed weight has a term for the padding too; both factors are zero there.
    let padded = a.groups() * GROUP;
    assert!(
        w.depth() == a.columns() || w.depth() == padded,
        "{} columns, depth {}",
        a.columns(),
        w.depth()
    );
    assert_eq!((c.rows(), c.groups()), (a.rows(), w.panels()), "result");
    assert!(bias.is_none_or(|bias| bias.len() == w.panels()), "bias");
    let (rows, panels, depth) = (a.rows(), w.panels(), w.depth());
    let result = Shared::new(c.blocks_mut());
    let left = a.blocks();
    compute.split(rows, 24, |range| {
        // SAFETY: the shapes were checked; each range has rows of its own.
        unsafe {
            compute.isa().run(Product {
                rows: range.len(),
                panels,
                c: result.get().add(range.start).cast::<T>(),
                c_panel: rows * GROUP,
                left: Left {
                    start: left.as_ptr().add(range.start).cast::<T>(),
                    group_stride: rows * GROUP,
                    depth,
                },
                w: w.blocks().as_ptr().cast::<T>(),
                w_panel: depth * GROUP,
                bias: bias.map(|bias| bias.as_ptr().cast::<T>()),
            });
        }
    });
}

/// Rows that belong together in the chain of a weight's gradient: `rows` rows from `a` on in the left factor and from
/// `b` on in the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRun {
    /// First row in the left factor.
    pub a: usize,
    /// First row in the right factor.
    pub b: usize,
    /// Rows.
    pub rows: usize,
}

impl RowRun {
    /// Whether it lies inside factors with so many rows.
    pub(crate) fn fits(&self, a_rows: usize, b_rows: usize) -> bool {
        let inside =
            |first: usize, rows| first.checked_add(self.rows).is_some_and(|end| end <= rows);
        (a_rows == usize::MAX || inside(self.a, a_rows)) && inside(self.b, b_rows)
    }
}

struct GradientProduct<'a, T> {
    runs: &'a [RowRun],
    a: *const T,
    a_rows: usize,
    depth: usize,
    b: *const T,
    b_rows: usize,
    /// The panel of `b` for panel p of the result is `(p / slots) * group_slots + first + p % slots`.
    slots: Slots,
    panels: std::ops::Range<usize>,
    c: *mut T,
}

/// Which panels of each group of a gates matrix take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Panels of a group in the matrix.
    pub(crate) per_group: usize,
    /// The first that takes part.
    pub(crate) first: usize,
    /// How many take part.
    pub(crate) count: usize,
}

impl Slots {
    /// All panels of a plain matrix.
    pub const PLAIN: Self = Self {
        per_group: 1,
        first: 0,
        count: 1,
    };

    /// All panels of a matrix with so many in a group.
    #[must_use]
    pub const fn all(count: usize) -> Self {
        Self {
            per_group: count,
            first: 0,
            count,
        }
    }

    /// The slots of cell `C` that receive the input's product.
    #[must_use]
    pub const fn x<C: Cell>() -> Self {
        Self {
            per_group: C::SLOTS,
            first: C::X.0,
            count: C::X.1.len(),
        }
    }

    /// The slots of cell `C` that receive the hidden state's product.
    #[must_use]
    pub const fn h<C: Cell>() -> Self {
        Self {
            per_group: C::SLOTS,
            first: C::H.0,
            count: C::H.1.len(),
        }
    }

    /// How many panels of a matrix with `panels` panels take part.
    #[must_use]
    pub fn of(self, panels: usize) -> usize {
        panels / self.per_group * self.count
    }

    /// The panel of the matrix that takes part as number `index`.
    #[inline(always)]
    #[must_use]
    pub fn panel(self, index: usize) -> usize {
        index / self.count * self.per_group + self.first + index % self.count
    }
}

impl<T: Scalar> Kernel<T> for GradientProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        // Rows whose part of the left factor stays in the second-level cache while all panels pass by. It is read but once for
        // each panel, so that it may be larger than that of a product.
        let most = (4 * SECOND_LEVEL / self.depth.max(1)).clamp(64, 1024);
        let (mut blocks, mut cut) = (Blocks::new(self.runs, most), Blocks::CUT);
        while let Some(runs) = blocks.next(&mut cut) {
            // SAFETY: `gradient_product` has checked the sizes and gives each thread panels of its own.
            unsafe { self.block::<V>(runs) };
        }
    }
}

impl<T: Scalar> GradientProduct<'_, T> {
    /// Some runs, all panels: the result's part of a few panels is finished before the next ones, so that it stays near.
    #[inline(always)]
    unsafe fn block<V: Lanes<Scalar = T>>(&self, runs: &[RowRun]) {
        // Rows of which the panels of a tile fit into the first-level cache.
        let most = 256 / V::TILE.1;
        let mut panel = self.panels.start;
        while panel < self.panels.end {
            let wide = V::TILE.1.min(self.panels.end - panel);
            let place = |panel| self.slots.panel(panel) * self.b_rows * GROUP;
            let b_panel = place(panel + wide - 1) - place(panel);
            let (mut blocks, mut cut) = (Blocks::new(runs, most), Blocks::CUT);
            while let Some(runs) = blocks.next(&mut cut) {
                for column in (0..self.depth).step_by(GROUP) {
                    let columns = GROUP.min(self.depth - column);
                    // SAFETY: the caller promises that runs and panels lie inside the buffers.
                    unsafe {
                        let a = self.a.add(column * self.a_rows);
                        let b = self.b.add(place(panel));
                        let c = self.c.add((panel * self.depth + column) * GROUP);
                        let c_stride = (GROUP, self.depth * GROUP);
                        tiles::<V, _>(columns, wide, c, c_stride, a, 1, b, b_panel, runs);
                    }
                }
            }
            panel += wide;
        }
    }
}

/// Runs in their order, in blocks of so many rows at most; a longer run is cut.
struct Blocks<'a> {
    runs: &'a [RowRun],
    most: usize,
    /// Rows of the first run that are done.
    done: usize,
}

impl<'a> Blocks<'a> {
    /// Room for a part of a run.
    const CUT: [RowRun; 1] = [RowRun {
        a: 0,
        b: 0,
        rows: 0,
    }];

    #[inline(always)]
    fn new(runs: &'a [RowRun], most: usize) -> Self {
        Self {
            runs,
            most,
            done: 0,
        }
    }

    #[inline(always)]
    fn next<'s>(&mut self, cut: &'s mut [RowRun; 1]) -> Option<&'s [RowRun]>
    where
        'a: 's,
    {
        let run = *self.runs.first()?;
        if run.rows > self.most {
            let rows = self.most.min(run.rows - self.done);
            *cut = [RowRun {
                a: run.a + self.done,
                b: run.b + self.done,
                rows,
            }];
            self.done += rows;
            if self.done == run.rows {
                self.runs = &self.runs[1..];
                self.done = 0;
            }
            return Some(cut);
        }
        let mut rows = 0;
        let fit = self.runs.iter().take_while(|run| {
            rows += run.rows;
            rows <= self.most
        });
        let (block, rest) = self.runs.split_at(fit.count());
        self.runs = rest;
        Some(block)
    }
}

/// The gradient of a weight: `c[panel][k] += Σ a[row][k] * b[row][panel]`, the chain of an element going through
/// `runs` in their order, and through the rows of each upwards.
///
/// # Shapes
/// `a`: the inputs, rows × depth; `b`: the gradients of the outputs, rows × outputs, of which `slots` take part;
/// `c`: panels × depth.
///
/// # Panics
/// If the shapes do not fit or a run passes an end.
pub fn gradient_product<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    a: &Panels<T>,
    b: &Panels<T>,
    slots: Slots,
    c: &mut Packed<T>,
) {
    T::gradient_product(compute, runs, a, b, slots, c)
}

pub(crate) fn gradient_product_of<T: Scalar>(
    compute: &Compute,
    runs: &[RowRun],
    a: &Panels<T>,
    b: &Panels<T>,
    slots: Slots,
    c: &mut Packed<T>,
) {
    let panels = slots.of(b.groups());
    assert_eq!((c.panels(), c.depth()), (panels, a.columns()), "gradient");
    for run in runs {
        assert!(run.fits(a.rows(), b.rows()), "{run:?}");
    }
    let depth = c.depth();
    let result = Shared::new(c.blocks_mut());
    let (left, right) = (a.blocks(), b.blocks());
    compute.split(panels, 1, |range| {
        compute.isa().run(GradientProduct {
            runs,
            a: left.as_ptr().cast::<T>(),
            a_rows: a.rows(),
            depth,
            b: right.as_ptr().cast::<T>(),
            b_rows: b.rows(),
            slots,
            panels: range,
            c: result.get().cast::<T>(),
        });
    });
}
