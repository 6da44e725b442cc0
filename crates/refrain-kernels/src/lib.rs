//! Arithmetic of recurrent networks on slices, forward and backward.
//!
//! Everything here is written once, generic over [`Lanes`]: sixteen numbers that move together. The scalar
//! implementation of `Lanes` is the definition; the AVX2 one does the same operations in the same order, so
//! both give the same bits. Matrices are [`Panels`]: groups of sixteen columns, each stored row by row.
//!
//! Kernels take slices and give slices. They do not log, lock, print or read the environment.

mod attention;
mod batch_norm;
mod cells;
mod compute;
mod convolution;
mod dropout;
mod elementwise;
mod gather;
mod instances;
mod masked;
mod math;
mod norm;
mod panels;
mod product;
mod recurrent;
mod recurrent_norm;
mod recurrent_norm_backward;
mod scalar;
mod simd;
mod softmax;
mod sums;
mod update;

pub use attention::{Attend, AttendBackward, Pairing, attend, attend_backward};
pub use batch_norm::{
    BatchNormBackward, ColumnScaling, batch_norm_backward, column_moments, scale_columns,
};
pub use cells::{AnyCell, BackwardStep, Cell, GruCell, LstmCell, RnnCell};
pub use compute::Compute;
pub use convolution::{
    ConvolutionBackward, ConvolutionForward, ConvolutionScratch, FrameShape, Frames, Winners,
    convolution_backward, convolution_forward, flatten, unflatten,
};
pub use dropout::{DropoutKey, dropout};
pub use elementwise::{activate, activate_backward, add_assign, all_finite, scale, sum_of_squares};
pub use gather::{add_gathered, gather_rows, join_columns, split_columns};
pub use masked::MaskedState;
pub use norm::{NORM_EPSILON, column_products, layer_norm, layer_norm_backward};
pub use panels::{Block, GROUP, GateOrder, Packed, Panels, groups};
pub use product::{RowRun, Slots, gradient_product, product};
pub use recurrent::{Backward, Forward, Input, StateGradients, backward, forward};
pub use recurrent_norm::{NormForward, NormInput, norm_forward};
pub use recurrent_norm_backward::{NormBackward, norm_backward};
pub use scalar::Scalar;
pub use simd::{Isa, IsaError, Lanes};
pub use softmax::softmax_cross_entropy;
pub use sums::{column_sums, sum_rows_by_index};
pub use update::{AdamStep, RootStep, SgdStep, adam, root, sgd};
