//! Attention: each query weighs the keys of one sequence and takes the weighted mean of their values.
//!
//! ```text
//! score_s = query · key_s                       (multiplicative)
//! score_s = Σ_k v_k tanh(query_k + key_s,k)     (additive)
//! weight = softmax(score);   context = Σ_s weight_s value_s
//! ```
//!
//! A scalar product has sixteen lanes, group after group, then the lanes from 0 to 15 in f64; a softmax likewise. A context
//! and a query's gradient are chains over the keys upwards, a key's and a value's gradient over the queries upwards. So a
//! sequence alone gives the same bits as in a batch.

use std::ops::Range;

use crate::compute::{Compute, Shared};
use crate::norm::fold;
use crate::panels::{Block, GROUP, Panels, groups};
use crate::scalar::Scalar;
use crate::simd::{Kernel, Lanes};

/// Which rows belong together: the queries of a sequence see the keys of one sequence. Both are packed: sorted by falling
/// length, the rows of a step together.
#[derive(Clone, Copy, Debug)]
pub struct Pairing<'a> {
    /// First row of each step of the queries, and the number of all rows.
    pub query_offsets: &'a [usize],
    /// The same of the keys.
    pub key_offsets: &'a [usize],
    /// For each sequence of queries, by its place in the first step, the place of the sequence of keys.
    pub key_of: &'a [u32],
}

impl Pairing<'_> {
    fn sequences(&self) -> usize {
        self.query_offsets.get(1).copied().unwrap_or(0)
    }

    fn key_sequences(&self) -> usize {
        self.key_offsets.get(1).copied().unwrap_or(0)
    }

    fn query_rows(&self) -> usize {
        self.query_offsets.last().copied().unwrap_or(0)
    }

    fn key_rows(&self) -> usize {
        self.key_offsets.last().copied().unwrap_or(0)
    }

    /// Steps of the longest sequence of keys: the columns of the weights.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.key_offsets.len().saturating_sub(1)
    }

    fn check(&self, query: (usize, usize), keys: (usize, usize), values: usize) {
        assert_eq!(query, (self.query_rows(), keys.1), "queries");
        assert_eq!(keys.0, self.key_rows(), "keys");
        assert_eq!(values, self.key_rows(), "values");
        assert_eq!(self.key_of.len(), self.sequences(), "pairs");
        let all = self.key_sequences();
        assert!(
            self.key_of.iter().all(|&place| (place as usize) < all),
            "a pair past {all}"
        );
        for offsets in [self.query_offsets, self.key_offsets] {
            let rows = |pair: &[usize]| pair[1] - pair[0];
            assert!(
                offsets.windows(2).all(|pair| pair[0] < pair[1])
                    && offsets
                        .windows(3)
                        .all(|three| rows(&three[..2]) >= rows(&three[1..])),
                "rows of a step"
            );
        }
    }
}

/// How many steps the sequence at `place` has.
#[inline(always)]
fn length(offsets: &[usize], place: usize) -> usize {
    offsets
        .windows(2)
        .take_while(|step| step[1] - step[0] > place)
        .count()
}

fn size<T: Scalar>(panels: &Panels<T>) -> (usize, usize) {
    (panels.rows(), panels.columns())
}

/// What [`attend`] reads and writes.
#[derive(Debug)]
pub struct Attend<'a, T> {
    /// Which keys a query sees.
    pub pairing: Pairing<'a>,
    /// Query rows × key columns.
    pub query: &'a Panels<T>,
    /// Key rows × key columns.
    pub keys: &'a Panels<T>,
    /// Key rows × value columns.
    pub values: &'a Panels<T>,
    /// The vector `v` of the additive form, a number for each key column; `None` is the multiplicative form.
    pub additive: Option<&'a [Block<T>]>,
    /// Written: query rows × the longest sequence of keys; zero past a sequence's own keys.
    pub weights: &'a mut Panels<T>,
    /// Written: query rows × value columns.
    pub context: &'a mut Panels<T>,
}

/// A matrix as the kernels walk over it.
#[derive(Clone, Copy)]
struct Grid<T> {
    start: Shared<T>,
    stride: usize,
    groups: usize,
}

impl<T: Scalar> Grid<T> {
    fn of(panels: &Panels<T>) -> Self {
        Self {
            start: Shared::from_const(panels.blocks().as_ptr().cast::<T>()),
            stride: panels.rows() * GROUP,
            groups: panels.groups(),
        }
    }

    fn of_mut(panels: &mut Panels<T>) -> Self {
        Self {
            stride: panels.rows() * GROUP,
            groups: panels.groups(),
            start: Shared::of_blocks(panels.blocks_mut()),
        }
    }

    /// The first block of a row.
    ///
    /// # Safety
    /// There is such a row.
    #[inline(always)]
    unsafe fn row(self, row: usize) -> *mut T {
        // SAFETY: the caller's row is there.
        unsafe { self.start.get().add(row * GROUP) }
    }

    /// One number of a row.
    ///
    /// # Safety
    /// There is such a row and column.
    #[inline(always)]
    unsafe fn at(self, row: usize, column: usize) -> *mut T {
        // SAFETY: the caller's place is there.
        unsafe {
            self.row(row)
                .add(column / GROUP * self.stride + column % GROUP)
        }
    }
}

/// The scalar product of two rows.
///
/// # Safety
/// Both rows have `groups` blocks, `a.1` and `b.1` numbers apart.
#[inline(always)]
unsafe fn dot<V: Lanes>(
    a: (*const V::Scalar, usize),
    b: (*const V::Scalar, usize),
    groups: usize,
) -> f64 {
    let mut sums = V::splat(V::Scalar::ZERO);
    for group in 0..groups {
        // SAFETY: as the caller's.
        unsafe {
            let (x, y) = (V::load(a.0.add(group * a.1)), V::load(b.0.add(group * b.1)));
            sums = x.mul_add(y, sums);
        }
    }
    fold(sums)
}

struct Forward<'a, T> {
    pairing: Pairing<'a>,
    places: Range<usize>,
    query: Grid<T>,
    keys: Grid<T>,
    values: Grid<T>,
    additive: Option<*const T>,
    weights: Grid<T>,
    context: Grid<T>,
}

impl<T: Scalar> Forward<'_, T> {
    /// Σ v tanh(query + key).
    ///
    /// # Safety
    /// The rows are there.
    #[inline(always)]
    unsafe fn additive_score<V: Lanes<Scalar = T>>(
        &self,
        v: *const T,
        row: usize,
        key: usize,
    ) -> f64 {
        let mut sums = V::splat(T::ZERO);
        // SAFETY: as the caller's.
        unsafe {
            let (query, key) = (self.query.row(row), self.keys.row(key));
            for group in 0..self.keys.groups {
                let x = V::load(query.add(group * self.query.stride));
                let y = V::load(key.add(group * self.keys.stride));
                sums = x.add(y).tanh().mul_add(V::load(v.add(group * GROUP)), sums);
            }
        }
        fold(sums)
    }

    /// The scores of a row become its weights.
    ///
    /// # Safety
    /// The row is there and has `count` scores.
    #[inline(always)]
    unsafe fn softmax<V: Lanes<Scalar = T>>(&self, row: usize, count: usize) {
        // SAFETY: as the caller's.
        unsafe {
            let mut greatest = *self.weights.at(row, 0);
            for s in 1..count {
                let score = *self.weights.at(row, s);
                greatest = if score > greatest { score } else { greatest };
            }
            let greatest = V::splat(greatest);
            let mut sums = V::splat(T::ZERO);
            for group in 0..self.weights.groups {
                let at = self.weights.row(row).add(group * self.weights.stride);
                let here = count.saturating_sub(group * GROUP).min(GROUP);
                let mask = if here == GROUP {
                    u16::MAX
                } else {
                    (1_u16 << here) - 1
                };
                let e = V::load(at).sub(greatest).exp();
                let e = e.select(mask, V::splat(T::ZERO));
                e.store(at);
                sums = sums.add(e);
            }
            let factor = V::splat(T::from_f64(1.0 / fold(sums)));
            for group in 0..groups(count) {
                let at = self.weights.row(row).add(group * self.weights.stride);
                V::load(at).mul(factor).store(at);
            }
        }
    }
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        for place in self.places.clone() {
            let key_place = self.pairing.key_of[place] as usize;
            let keys = length(self.pairing.key_offsets, key_place);
            let key_rows = &self.pairing.key_offsets[..keys];
            for t in 0..length(self.pairing.query_offsets, place) {
                let row = self.pairing.query_offsets[t] + place;
                // SAFETY: `attend` has checked the sizes and gives each thread sequences of its own.
                unsafe {
                    for (s, first) in key_rows.iter().enumerate() {
                        let key = first + key_place;
                        let score = match self.additive {
                            Some(v) => self.additive_score::<V>(v, row, key),
                            None => dot::<V>(
                                (self.query.row(row), self.query.stride),
                                (self.keys.row(key), self.keys.stride),
                                self.keys.groups,
                            ),
                        };
                        *self.weights.at(row, s) = T::from_f64(score);
                    }
                    self.softmax::<V>(row, keys);
                    for group in 0..self.values.groups {
                        let mut sum = V::splat(T::ZERO);
                        for (s, first) in key_rows.iter().enumerate() {
                            let value = self.values.row(first + key_place);
                            let value = V::load(value.add(group * self.values.stride));
                            sum = V::splat(*self.weights.at(row, s)).mul_add(value, sum);
                        }
                        sum.store(self.context.row(row).add(group * self.context.stride));
                    }
                }
            }
        }
    }
}

/// Attention: each query weighs the keys of one sequence and takes the weighted mean of their values.
///
/// ```text
/// score_s = query · key_s    |    Σ_k v_k tanh(query_k + key_s,k)
/// weight = softmax(score);   context = Σ_s weight_s value_s
/// ```
///
/// # Panics
/// If the shapes do not fit.
pub fn attend<T: Scalar>(compute: &Compute, args: Attend<'_, T>) {
    T::attend(compute, args);
}

pub(crate) fn attend_of<T: Scalar>(compute: &Compute, args: Attend<'_, T>) {
    let pairing = args.pairing;
    pairing.check(size(args.query), size(args.keys), args.values.rows());
    let rows = args.query.rows();
    assert_eq!(size(args.weights), (rows, pairing.longest()), "weights");
    assert_eq!(size(args.context), (rows, args.values.columns()), "context");
    assert!(
        args.additive.is_none_or(|v| v.len() == args.keys.groups()),
        "v"
    );
    let (query, keys, values) = (
        Grid::of(args.query),
        Grid::of(args.keys),
        Grid::of(args.values),
    );
    let (weights, context) = (Grid::of_mut(args.weights), Grid::of_mut(args.context));
    let additive = args
        .additive
        .map(|v| Shared::from_const(v.as_ptr().cast::<T>()));
    compute.split(pairing.sequences(), 1, |places| {
        compute.isa().run(Forward {
            pairing,
            places,
            query,
            keys,
            values,
            additive: additive.map(|v| v.get().cast_const()),
            weights,
            context,
        });
    });
}

/// What [`attend_backward`] reads and writes.
#[derive(Debug)]
pub struct AttendBackward<'a, T> {
    /// As in the forward pass; no two sequences of queries may see the same keys.
    pub pairing: Pairing<'a>,
    /// As in the forward pass.
    pub query: &'a Panels<T>,
    /// As in the forward pass.
    pub keys: &'a Panels<T>,
    /// As in the forward pass.
    pub values: &'a Panels<T>,
    /// As in the forward pass.
    pub additive: Option<&'a [Block<T>]>,
    /// What the forward pass wrote.
    pub weights: &'a Panels<T>,
    /// The gradient of the context.
    pub d_context: &'a Panels<T>,
    /// Scratch of the size of the weights; the gradient of the scores afterwards.
    pub d_scores: &'a mut Panels<T>,
    /// Written: the gradient of the queries.
    pub d_query: &'a mut Panels<T>,
    /// Written: the gradient of the keys as keys.
    pub d_keys: &'a mut Panels<T>,
    /// Written: the gradient of the values.
    pub d_values: &'a mut Panels<T>,
    /// Written in the additive form: the gradient of `v`, a row for each sequence of queries, to be added up.
    pub d_additive: &'a mut Panels<T>,
}

struct Backward<'a, T> {
    pairing: Pairing<'a>,
    places: Range<usize>,
    query: Grid<T>,
    keys: Grid<T>,
    values: Grid<T>,
    additive: Option<*const T>,
    weights: Grid<T>,
    d_context: Grid<T>,
    d_scores: Grid<T>,
    d_query: Grid<T>,
    d_keys: Grid<T>,
    d_values: Grid<T>,
    d_additive: Grid<T>,
}

impl<T: Scalar> Backward<'_, T> {
    /// The gradient of a row's scores: `weight * (d_weight - Σ weight d_weight)`.
    ///
    /// # Safety
    /// The rows are there.
    #[inline(always)]
    unsafe fn scores<V: Lanes<Scalar = T>>(
        &self,
        row: usize,
        key_rows: &[usize],
        key_place: usize,
    ) {
        // SAFETY: as the caller's.
        unsafe {
            let mut mean = 0.0;
            for (s, first) in key_rows.iter().enumerate() {
                let d_weight = dot::<V>(
                    (self.d_context.row(row), self.d_context.stride),
                    (self.values.row(first + key_place), self.values.stride),
                    self.values.groups,
                );
                let d_weight = T::from_f64(d_weight);
                mean += (*self.weights.at(row, s)).to_f64() * d_weight.to_f64();
                *self.d_scores.at(row, s) = d_weight;
            }
            let mean = T::from_f64(mean);
            for s in 0..key_rows.len() {
                let at = self.d_scores.at(row, s);
                *at = *self.weights.at(row, s) * (*at - mean);
            }
        }
    }

    /// From the gradient of a row's scores to those of what they were formed of, group by group.
    ///
    /// # Safety
    /// The rows are there.
    #[inline(always)]
    unsafe fn factors<V: Lanes<Scalar = T>>(
        &self,
        (place, row): (usize, usize),
        key_rows: &[usize],
        key_place: usize,
    ) {
        let one = V::splat(T::ONE);
        // SAFETY: as the caller's.
        unsafe {
            for group in 0..self.keys.groups {
                let query = V::load(self.query.row(row).add(group * self.query.stride));
                let mut d_query = V::splat(T::ZERO);
                let d_v = self
                    .d_additive
                    .row(place)
                    .wrapping_add(group * self.d_additive.stride);
                for (s, first) in key_rows.iter().enumerate() {
                    let key = V::load(
                        self.keys
                            .row(first + key_place)
                            .add(group * self.keys.stride),
                    );
                    let d_key = self
                        .d_keys
                        .row(first + key_place)
                        .add(group * self.d_keys.stride);
                    let d = V::splat(*self.d_scores.at(row, s));
                    let sum = V::load(d_key);
                    match self.additive {
                        Some(v) => {
                            let u = query.add(key).tanh();
                            d.mul_add(u, V::load(d_v)).store(d_v);
                            let slope = one.sub(u.mul(u));
                            let d_sum = d.mul(V::load(v.add(group * GROUP))).mul(slope);
                            d_query = d_query.add(d_sum);
                            sum.add(d_sum).store(d_key);
                        }
                        None => {
                            d_query = d.mul_add(key, d_query);
                            d.mul_add(query, sum).store(d_key);
                        }
                    }
                }
                d_query.store(self.d_query.row(row).add(group * self.d_query.stride));
            }
        }
    }
}

impl<T: Scalar> Kernel<T> for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes<Scalar = T>>(self) {
        for place in self.places.clone() {
            let key_place = self.pairing.key_of[place] as usize;
            let keys = length(self.pairing.key_offsets, key_place);
            let key_rows = &self.pairing.key_offsets[..keys];
            for t in 0..length(self.pairing.query_offsets, place) {
                let row = self.pairing.query_offsets[t] + place;
                // SAFETY: `attend_backward` has checked the sizes and gives each thread sequences of its own, of queries
                // and of keys.
                unsafe {
                    self.scores::<V>(row, key_rows, key_place);
                    for group in 0..self.values.groups {
                        let d = self.d_context.row(row).add(group * self.d_context.stride);
                        let d = V::load(d);
                        for (s, first) in key_rows.iter().enumerate() {
                            let to = self.d_values.row(first + key_place);
                            let to = to.add(group * self.d_values.stride);
                            let weight = V::splat(*self.weights.at(row, s));
                            weight.mul_add(d, V::load(to)).store(to);
                        }
                    }
                    self.factors::<V>((place, row), key_rows, key_place);
                }
            }
        }
    }
}

/// The backward pass of [`attend`].
///
/// # Panics
/// If the shapes do not fit, or two sequences of queries see the same keys.
pub fn attend_backward<T: Scalar>(compute: &Compute, args: AttendBackward<'_, T>) {
    T::attend_backward(compute, args);
}

pub(crate) fn attend_backward_of<T: Scalar>(compute: &Compute, args: AttendBackward<'_, T>) {
    let pairing = args.pairing;
    pairing.check(size(args.query), size(args.keys), args.values.rows());
    let (rows, sequences) = (args.query.rows(), pairing.sequences());
    let columns = args.keys.columns();
    assert_eq!(size(args.weights), (rows, pairing.longest()), "weights");
    assert_eq!(
        size(args.d_context),
        (rows, args.values.columns()),
        "context"
    );
    assert!(
        args.additive.is_none_or(|v| v.len() == args.keys.groups()),
        "v"
    );
    let mut seen = vec![false; pairing.key_sequences()];
    for &place in pairing.key_of {
        let seen = &mut seen[place as usize];
        assert!(!std::mem::replace(seen, true), "keys seen twice");
    }
    args.d_scores.resize(rows, pairing.longest());
    args.d_query.resize(rows, columns);
    args.d_keys.reset(args.keys.rows(), columns);
    args.d_values
        .reset(args.values.rows(), args.values.columns());
    if args.additive.is_some() {
        args.d_additive.reset(sequences, columns);
    }
    let additive = args
        .additive
        .map(|v| Shared::from_const(v.as_ptr().cast::<T>()));
    let (query, keys, values) = (
        Grid::of(args.query),
        Grid::of(args.keys),
        Grid::of(args.values),
    );
    let (weights, d_context) = (Grid::of(args.weights), Grid::of(args.d_context));
    let (d_scores, d_query) = (Grid::of_mut(args.d_scores), Grid::of_mut(args.d_query));
    let (d_keys, d_values) = (Grid::of_mut(args.d_keys), Grid::of_mut(args.d_values));
    let d_additive = Grid::of_mut(args.d_additive);
    compute.split(sequences, 1, |places| {
        compute.isa().run(Backward {
            pairing,
            places,
            query,
            keys,
            values,
            additive: additive.map(|v| v.get().cast_const()),
            weights,
            d_context,
            d_scores,
            d_query,
            d_keys,
            d_values,
            d_additive,
        });
    });
}
