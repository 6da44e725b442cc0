use crate::scalar::Scalar;

/// Columns in a group: the unit of blocking on every instruction set.
pub const GROUP: usize = 16;

/// Groups that hold `columns` columns, the last padded with zeros.
#[must_use]
pub const fn groups(columns: usize) -> usize {
    columns.div_ceil(GROUP)
}

/// `rows * groups` blocks; the sizes that kernels check must not wrap.
fn count(rows: usize, groups: usize) -> usize {
    rows.checked_mul(groups)
        .unwrap_or_else(|| panic!("{rows} rows of {groups} groups"))
}

/// Sixteen neighbouring columns of one row, on a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Block<T>(pub [T; GROUP]);

impl<T: Scalar> Block<T> {
    /// All zeros.
    pub const ZERO: Self = Self([T::ZERO; GROUP]);
}

/// A matrix stored by groups of sixteen columns: group 0 of every row, then group 1 of every row, and so on.
///
/// Columns past the last are zero and stay zero. In this layout a product reads its weights straight through,
/// sixteen rows of activations share cache lines with nothing else, and the gradient of a weight reads both its
/// factors straight through; no large power-of-two stride occurs.
///
/// # Examples
///
/// ```
/// use refrain_kernels::Panels;
///
/// let mut panels = Panels::<f32>::new(2, 20);
/// panels.copy_from_rows(0, &[1.0; 40]);
/// assert_eq!(panels.get(1, 19), 1.0);
/// assert_eq!(panels.to_rows(0, 1), vec![1.0; 20]);
/// ```
#[derive(Debug, Default, PartialEq)]
pub struct Panels<T> {
    blocks: Vec<Block<T>>,
    rows: usize,
    columns: usize,
}

// By hand for `clone_from`, which keeps the allocation.
impl<T: Clone> Clone for Panels<T> {
    fn clone(&self) -> Self {
        Self {
            blocks: self.blocks.clone(),
            rows: self.rows,
            columns: self.columns,
        }
    }

    fn clone_from(&mut self, from: &Self) {
        self.blocks.clone_from(&from.blocks);
        self.rows = from.rows;
        self.columns = from.columns;
    }
}

impl<T: Scalar> Panels<T> {
    /// A matrix of zeros.
    #[must_use]
    pub fn new(rows: usize, columns: usize) -> Self {
        Self {
            blocks: vec![Block::ZERO; count(rows, groups(columns))],
            rows,
            columns,
        }
    }

    /// Takes another size, all zeros; allocates only where it grows past its largest size so far.
    pub fn reset(&mut self, rows: usize, columns: usize) {
        self.blocks.clear();
        self.resize(rows, columns);
    }

    /// Takes another size, contents unspecified (columns past the last excepted: they are zero if the number of
    /// columns is the same as before); allocates only where it grows past its largest size so far.
    pub fn resize(&mut self, rows: usize, columns: usize) {
        if columns != self.columns {
            self.blocks.clear();
        }
        self.blocks
            .resize(count(rows, groups(columns)), Block::ZERO);
        self.rows = rows;
        self.columns = columns;
        if !columns.is_multiple_of(GROUP) {
            self.clear_padding();
        }
    }

    fn clear_padding(&mut self) {
        let first = self.columns % GROUP;
        let start = self.rows * (groups(self.columns) - 1);
        for block in &mut self.blocks[start..] {
            block.0[first..].fill(T::ZERO);
        }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, without the padding.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Groups of columns.
    #[must_use]
    pub fn groups(&self) -> usize {
        groups(self.columns)
    }

    /// All blocks: those of group 0 by row, then those of group 1, …
    #[must_use]
    pub fn blocks(&self) -> &[Block<T>] {
        &self.blocks
    }

    /// All blocks, to be changed. Padding must stay zero.
    pub fn blocks_mut(&mut self) -> &mut [Block<T>] {
        &mut self.blocks
    }

    /// One number.
    ///
    /// # Panics
    /// If `row` or `column` is out of range.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> T {
        assert!(
            row < self.rows && column < self.columns,
            "({row}, {column})"
        );
        self.blocks[column / GROUP * self.rows + row].0[column % GROUP]
    }

    /// Changes one number.
    ///
    /// # Panics
    /// If `row` or `column` is out of range.
    pub fn set(&mut self, row: usize, column: usize, value: T) {
        assert!(
            row < self.rows && column < self.columns,
            "({row}, {column})"
        );
        self.blocks[column / GROUP * self.rows + row].0[column % GROUP] = value;
    }

    /// Copies rows in the usual row-major order into the rows from `row` on.
    ///
    /// # Panics
    /// If `values` is not a whole number of rows or passes the end.
    pub fn copy_from_rows(&mut self, row: usize, values: &[T]) {
        if self.columns == 0 {
            return;
        }
        assert!(
            values.len().is_multiple_of(self.columns),
            "{} numbers in rows of {}",
            values.len(),
            self.columns
        );
        let count = values.len() / self.columns;
        assert!(
            row + count <= self.rows,
            "rows {row}..{} of {}",
            row + count,
            self.rows
        );
        for (at, values) in values.chunks_exact(self.columns).enumerate() {
            for (group, part) in values.chunks(GROUP).enumerate() {
                self.blocks[group * self.rows + row + at].0[..part.len()].copy_from_slice(part);
            }
        }
    }

    /// The rows `row..row + count` in the usual row-major order.
    ///
    /// # Panics
    /// If they pass the end.
    #[must_use]
    pub fn to_rows(&self, row: usize, count: usize) -> Vec<T> {
        let mut values = vec![T::ZERO; count * self.columns];
        self.copy_to_rows(row, &mut values);
        values
    }

    /// Copies the rows from `row` on into `values`, in the usual row-major order.
    ///
    /// # Panics
    /// If `values` is not a whole number of rows or passes the end.
    pub fn copy_to_rows(&self, row: usize, values: &mut [T]) {
        if self.columns == 0 {
            return;
        }
        assert!(
            values.len().is_multiple_of(self.columns),
            "{} numbers in rows of {}",
            values.len(),
            self.columns
        );
        let count = values.len() / self.columns;
        assert!(
            row + count <= self.rows,
            "rows {row}..{} of {}",
            row + count,
            self.rows
        );
        for (at, values) in values.chunks_exact_mut(self.columns).enumerate() {
            for (group, part) in values.chunks_mut(GROUP).enumerate() {
                part.copy_from_slice(&self.blocks[group * self.rows + row + at].0[..part.len()]);
            }
        }
    }

    /// Copies `count` rows of `from`, from its row `from_row` on, into the rows from `row` on.
    ///
    /// # Panics
    /// If the columns differ or the rows pass an end.
    pub fn copy_rows(&mut self, row: usize, from: &Self, from_row: usize, count: usize) {
        assert_eq!(self.columns, from.columns, "columns");
        assert!(
            row + count <= self.rows && from_row + count <= from.rows,
            "rows"
        );
        for group in 0..self.groups() {
            let to = group * self.rows + row;
            let source = group * from.rows + from_row;
            self.blocks[to..to + count].copy_from_slice(&from.blocks[source..source + count]);
        }
    }

    /// Sets every number to zero.
    pub fn fill_zero(&mut self) {
        self.blocks.fill(Block::ZERO);
    }
}

/// Which of PyTorch's stacked gates stands in each slot of a group, for one side (input or hidden) of a cell.
///
/// A weight of PyTorch has `gates × size` rows, gate by gate. Here the rows go by groups of sixteen units, and in each
/// group slot by slot. A plain matrix has one gate and one slot.
#[derive(Clone, Copy, Debug)]
pub struct GateOrder {
    /// PyTorch's gate in each slot.
    pub gates: &'static [usize],
    /// Units of one gate.
    pub size: usize,
}

impl GateOrder {
    /// The order of a plain matrix with `size` rows.
    #[must_use]
    pub const fn plain(size: usize) -> Self {
        Self { gates: &[0], size }
    }

    /// Panels that hold all rows.
    #[must_use]
    pub fn panels(&self) -> usize {
        groups(self.size) * self.gates.len()
    }

    /// Rows of PyTorch's weight.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.size * self.gates.len()
    }

    /// For a panel: PyTorch's first row in it, and how many of its sixteen lanes are units.
    fn span(&self, panel: usize) -> (usize, usize) {
        let group = panel / self.gates.len();
        let gate = self.gates[panel % self.gates.len()];
        (
            gate * self.size + group * GROUP,
            GROUP.min(self.size - group * GROUP),
        )
    }
}

/// A weight matrix (or its gradient) laid out for products: panels of sixteen outputs, each with a block for every
/// input.
///
/// `blocks[panel * depth + k]` holds what input `k` contributes to the panel's sixteen outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packed<T> {
    blocks: Vec<Block<T>>,
    panels: usize,
    depth: usize,
}

impl<T: Scalar> Packed<T> {
    /// Takes a size, all zeros; allocates only where it grows.
    pub fn reset(&mut self, panels: usize, depth: usize) {
        self.blocks.clear();
        self.blocks.resize(count(panels, depth), Block::ZERO);
        self.panels = panels;
        self.depth = depth;
    }

    /// Panels of sixteen outputs.
    #[must_use]
    pub fn panels(&self) -> usize {
        self.panels
    }

    /// Inputs.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// All blocks.
    #[must_use]
    pub fn blocks(&self) -> &[Block<T>] {
        &self.blocks
    }

    /// All blocks, to be changed.
    pub fn blocks_mut(&mut self) -> &mut [Block<T>] {
        &mut self.blocks
    }

    /// Packs `weight` (PyTorch's `[rows, depth]`, row-major) for `outputs = weight · inputs`.
    ///
    /// # Panics
    /// If `weight` has not `order.rows() * depth` numbers.
    pub fn pack(&mut self, weight: &[T], order: GateOrder, depth: usize) {
        assert_eq!(weight.len(), order.rows() * depth, "weight");
        self.reset(order.panels(), depth);
        if depth == 0 {
            return;
        }
        for (panel, blocks) in self.blocks.chunks_exact_mut(depth).enumerate() {
            let (row, count) = order.span(panel);
            // Eight inputs at a time keep the blocks written and the rows read within the first-level cache.
            for (at, blocks) in blocks.chunks_mut(8).enumerate() {
                for lane in 0..count {
                    let from = &weight[(row + lane) * depth + at * 8..][..blocks.len()];
                    for (block, &value) in blocks.iter_mut().zip(from) {
                        block.0[lane] = value;
                    }
                }
            }
        }
    }

    /// Packs `weight` (PyTorch's `[rows, depth]`, row-major) for `d_inputs = weightᵀ · d_outputs`, where the outputs'
    /// gradients lie in the order of `order`, padding included.
    ///
    /// # Panics
    /// If `weight` has not `order.rows() * depth` numbers.
    pub fn pack_transposed(&mut self, weight: &[T], order: GateOrder, depth: usize) {
        assert_eq!(weight.len(), order.rows() * depth, "weight");
        let inner = order.panels() * GROUP;
        self.reset(groups(depth), inner);
        if inner == 0 {
            return;
        }
        for (panel, blocks) in self.blocks.chunks_exact_mut(inner).enumerate() {
            let column = panel * GROUP;
            let width = GROUP.min(depth - column);
            for from in 0..order.panels() {
                let (row, count) = order.span(from);
                for lane in 0..count {
                    let values = &weight[(row + lane) * depth + column..][..width];
                    blocks[from * GROUP + lane].0[..width].copy_from_slice(values);
                }
            }
        }
    }

    /// The inverse of [`Packed::pack`]: writes `[rows, depth]`, row-major, into `weight`.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn unpack(&self, weight: &mut [T], order: GateOrder) {
        assert_eq!(weight.len(), order.rows() * self.depth, "weight");
        assert_eq!(self.panels, order.panels(), "panels");
        if self.depth == 0 {
            return;
        }
        for (panel, blocks) in self.blocks.chunks_exact(self.depth).enumerate() {
            let (row, count) = order.span(panel);
            for (at, blocks) in blocks.chunks(8).enumerate() {
                for lane in 0..count {
                    let to = &mut weight[(row + lane) * self.depth + at * 8..][..blocks.len()];
                    for (value, block) in to.iter_mut().zip(blocks) {
                        *value = block.0[lane];
                    }
                }
            }
        }
    }

    /// The inverse of [`Packed::pack_transposed`] for a plain order: the gradient `[rows, depth]`, of which this holds
    /// the transpose.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn unpack_transposed(&self, weight: &mut [T], order: GateOrder, depth: usize) {
        assert_eq!(weight.len(), order.rows() * depth, "weight");
        assert_eq!(
            (self.panels, self.depth),
            (groups(depth), order.panels() * GROUP),
            "packed"
        );
        for (panel, blocks) in self.blocks.chunks_exact(self.depth.max(1)).enumerate() {
            let column = panel * GROUP;
            let width = GROUP.min(depth - column);
            for from in 0..order.panels() {
                let (row, count) = order.span(from);
                for lane in 0..count {
                    weight[(row + lane) * depth + column..][..width]
                        .copy_from_slice(&blocks[from * GROUP + lane].0[..width]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packing_is_undone_by_unpacking(size in 1usize..40, depth in 1usize..40, lstm in any::<bool>()) {
            let order = GateOrder { gates: if lstm { &[0, 1, 2, 3] } else { &[2, 0, 1] }, size };
            let weight: Vec<f64> = (0..order.rows() * depth).map(|x| x as f64 + 1.0).collect();
            let mut packed = Packed::default();
            let mut back = vec![0.0; weight.len()];
            packed.pack(&weight, order, depth);
            packed.unpack(&mut back, order);
            prop_assert_eq!(&back, &weight);
            back.fill(0.0);
            packed.pack_transposed(&weight, order, depth);
            packed.unpack_transposed(&mut back, order, depth);
            prop_assert_eq!(&back, &weight);
        }
    }

    #[test]
    fn resizing_never_leaves_padding_behind() {
        let mut panels = Panels::<f32>::new(1, 32);
        panels.blocks_mut().fill(Block([1.0; 16]));
        panels.resize(3, 20);
        for row in 0..3 {
            assert_eq!(panels.blocks()[3 + row].0[4..], [0.0; 12]);
        }
    }
}
