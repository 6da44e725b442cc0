//! Arithmetic of recurrent networks on slices, forward and backward.
