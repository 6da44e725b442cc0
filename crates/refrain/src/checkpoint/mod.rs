//! Files of models and of training states: safetensors with one metadata key, `refrain`.

mod atomic;
pub mod container;
mod model;
mod tensors;

pub use atomic::{check_writable, write_atomic};
pub use container::{Container, ContainerBuilder, FORMAT_VERSION};
pub use model::{ModelFile, Vocabularies};
pub use tensors::{Tensor, TensorData, Tensors};
