//! Gradient checks, goldens and comparisons for the tests of Refrain.
