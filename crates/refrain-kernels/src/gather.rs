//! Rows in another order, and two matrices side by side: what a bidirectional layer moves, and attention.

use crate::compute::{Compute, Shared};
use crate::panels::{Block, GROUP, Panels};
use crate::scalar::Scalar;

/// Rows below which a further thread costs more than it saves.
const LEAST: usize = 64;

fn check_index(index: &[u32], rows: usize) {
    assert!(
        index.iter().all(|&at| (at as usize) < rows),
        "index past {rows}"
    );
}

/// Calls `block(group, row)` for every block of `to`, rows split over the threads, and stores what it gives; `block` is
/// also given what stood there.
fn fill<T: Scalar>(
    compute: &Compute,
    to: &mut Panels<T>,
    block: impl Fn(usize, usize, &Block<T>) -> Block<T> + Sync,
) {
    let (rows, groups) = (to.rows(), to.groups());
    let shared = Shared::new(to.blocks_mut());
    compute.split(rows, LEAST, |range| {
        for group in 0..groups {
            for row in range.clone() {
                // SAFETY: the place lies inside `to`, and each thread has rows of its own.
                let place = unsafe { &mut *shared.get().add(group * rows + row) };
                *place = block(group, row, place);
            }
        }
    });
}

/// `to[row] = from[index[row]]`.
///
/// # Panics
/// If the shapes do not fit or an index passes the end.
pub fn gather_rows<T: Scalar>(
    compute: &Compute,
    from: &Panels<T>,
    index: &[u32],
    to: &mut Panels<T>,
) {
    assert_eq!(
        (to.rows(), to.columns()),
        (index.len(), from.columns()),
        "gathered"
    );
    check_index(index, from.rows());
    let (blocks, rows) = (from.blocks(), from.rows());
    fill(compute, to, |group, row, _| {
        blocks[group * rows + index[row] as usize]
    });
}

/// `to[row] += from[index[row]]`.
///
/// # Panics
/// If the shapes do not fit or an index passes the end.
pub fn add_gathered<T: Scalar>(
    compute: &Compute,
    from: &Panels<T>,
    index: &[u32],
    to: &mut Panels<T>,
) {
    assert_eq!(
        (to.rows(), to.columns()),
        (index.len(), from.columns()),
        "gathered"
    );
    check_index(index, from.rows());
    let (blocks, rows) = (from.blocks(), from.rows());
    fill(compute, to, |group, row, old| {
        let mut sum = *old;
        let added = &blocks[group * rows + index[row] as usize];
        for (sum, &x) in sum.0.iter_mut().zip(&added.0) {
            *sum += x;
        }
        sum
    });
}

/// `to[row] = [first[row] ; second[index[row]]]`: two matrices side by side, as a layer's two directions.
///
/// # Shapes
/// `first`: rows × m; `second`: any rows × n; `index`: rows; `to`: rows × (m + n).
///
/// # Panics
/// If the shapes do not fit or an index passes the end.
pub fn join_columns<T: Scalar>(
    compute: &Compute,
    first: &Panels<T>,
    second: &Panels<T>,
    index: &[u32],
    to: &mut Panels<T>,
) {
    let (rows, columns) = (first.rows(), first.columns());
    let joined = columns + second.columns();
    assert_eq!((to.rows(), to.columns()), (rows, joined), "joined");
    assert_eq!(index.len(), rows, "index");
    check_index(index, second.rows());
    // The second begins at lane `shift` of group `whole`.
    let (whole, shift, groups) = (columns / GROUP, columns % GROUP, second.groups());
    let second_rows = second.rows();
    let (first, second) = (first.blocks(), second.blocks());
    fill(compute, to, |group, row, _| {
        let from = index[row] as usize;
        if group < whole {
            return first[group * rows + row];
        }
        let at = group - whole;
        if shift == 0 {
            return second[at * second_rows + from];
        }
        let mut block = Block::ZERO;
        match at {
            0 => block.0[..shift].copy_from_slice(&first[whole * rows + row].0[..shift]),
            _ => block.0[..shift]
                .copy_from_slice(&second[(at - 1) * second_rows + from].0[GROUP - shift..]),
        }
        if at < groups {
            block.0[shift..].copy_from_slice(&second[at * second_rows + from].0[..GROUP - shift]);
        }
        block
    });
}

/// The inverse of [`join_columns`], for a gradient: `first[row]` is the first part of `from[row]`, `second[row]` the
/// second part of `from[index[row]]`.
///
/// Where the index is its own inverse, as that of a reversal, it is the same one.
///
/// # Panics
/// If the shapes do not fit or an index passes the end.
pub fn split_columns<T: Scalar>(
    compute: &Compute,
    from: &Panels<T>,
    index: &[u32],
    first: &mut Panels<T>,
    second: &mut Panels<T>,
) {
    let (rows, columns) = (from.rows(), first.columns());
    assert_eq!(from.columns(), columns + second.columns(), "joined");
    assert_eq!(first.rows(), rows, "first");
    assert_eq!(second.rows(), index.len(), "second");
    check_index(index, rows);
    let (whole, shift, groups) = (columns / GROUP, columns % GROUP, from.groups());
    let blocks = from.blocks();
    fill(compute, first, |group, row, _| {
        let mut block = blocks[group * rows + row];
        if group == whole {
            block.0[shift..].fill(T::ZERO);
        }
        block
    });
    fill(compute, second, |group, row, _| {
        let from = index[row] as usize;
        let low = &blocks[(whole + group) * rows + from];
        if shift == 0 {
            return *low;
        }
        let mut block = Block::ZERO;
        block.0[..GROUP - shift].copy_from_slice(&low.0[shift..]);
        if whole + group + 1 < groups {
            let high = &blocks[(whole + group + 1) * rows + from];
            block.0[GROUP - shift..].copy_from_slice(&high.0[..shift]);
        }
        block
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn joined_columns_stand_side_by_side(rows in 1usize..90, columns in 1usize..40, others in 1usize..40, threads in 1usize..4) {
            let compute = Compute::new(Isa::detect(), threads);
            let numbers = |from: usize, count: usize| (0..count).map(|x| (x + from) as f32).collect::<Vec<_>>();
            let index: Vec<u32> = (0..rows as u32).rev().collect();
            let (mut a, mut b) = (Panels::new(rows, columns), Panels::new(rows, others));
            a.copy_from_rows(0, &numbers(1, rows * columns));
            b.copy_from_rows(0, &numbers(10_000, rows * others));
            let mut joined = Panels::new(rows, columns + others);
            join_columns(&compute, &a, &b, &index, &mut joined);
            for row in 0..rows {
                let mut expected = a.to_rows(row, 1);
                expected.extend(b.to_rows(rows - 1 - row, 1));
                prop_assert_eq!(joined.to_rows(row, 1), expected);
            }
            // Padding included.
            let mut padded = Panels::new(rows, columns + others);
            padded.copy_from_rows(0, &joined.to_rows(0, rows));
            prop_assert_eq!(&padded, &joined);
            let (mut first, mut second) = (Panels::new(rows, columns), Panels::new(rows, others));
            split_columns(&compute, &joined, &index, &mut first, &mut second);
            prop_assert_eq!(&first, &a);
            prop_assert_eq!(&second, &b);
            // A row of the second may stand beside several of the first.
            let one = vec![rows as u32 / 2; rows];
            join_columns(&compute, &a, &b, &one, &mut joined);
            prop_assert_eq!(joined.to_rows(0, 1)[columns..].to_vec(), b.to_rows(rows / 2, 1));
        }

        #[test]
        fn gathered_rows_come_in_the_order_of_the_index(rows in 1usize..90, columns in 1usize..40, threads in 1usize..4) {
            let compute = Compute::new(Isa::detect(), threads);
            let index: Vec<u32> = (0..rows as u32).rev().collect();
            let mut a = Panels::new(rows, columns);
            a.copy_from_rows(0, &(0..rows * columns).map(|x| x as f32).collect::<Vec<_>>());
            let (mut sum, mut gathered) = (a.clone(), Panels::new(rows, columns));
            gather_rows(&compute, &a, &index, &mut gathered);
            add_gathered(&compute, &a, &index, &mut sum);
            for row in 0..rows {
                prop_assert_eq!(gathered.to_rows(row, 1), a.to_rows(rows - 1 - row, 1));
                let expected: Vec<f32> = a.to_rows(row, 1).iter().zip(a.to_rows(rows - 1 - row, 1)).map(|(x, y)| x + y).collect();
                prop_assert_eq!(sum.to_rows(row, 1), expected);
            }
        }
    }
}
